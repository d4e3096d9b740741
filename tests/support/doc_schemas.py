"""Schemas for document tests."""

from __future__ import annotations

from meshagent.api.documents.schema import ChildProperty, ElementType, MeshSchema, ValueProperty


def page_schema() -> MeshSchema:
    """`page(title; children: [p, text, box])`, `p(n:number, s, flag:boolean)`, `text(a; runs: [p])`, `box(; items)`."""
    return MeshSchema(
        root_tag_name="page",
        elements=[
            ElementType(
                tag_name="page",
                properties=[
                    ValueProperty(name="title", type="string"),
                    ChildProperty(name="children", child_tag_names=["p", "text", "box"]),
                ],
            ),
            ElementType(
                tag_name="p",
                properties=[
                    ValueProperty(name="n", type="number"),
                    ValueProperty(name="s", type="string"),
                    ValueProperty(name="flag", type="boolean"),
                ],
            ),
            ElementType(
                tag_name="text",
                properties=[
                    ValueProperty(name="a", type="string"),
                    ChildProperty(name="runs", child_tag_names=["p"]),
                ],
            ),
            ElementType(
                tag_name="box",
                properties=[ChildProperty(name="items", child_tag_names=["box", "p", "text"])],
            ),
        ],
    )
