"""Document schemas: validation rules, exact JSON round trips, the built-in schemas."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from meshagent.api.documents.builtin import builtin_schema, builtin_schema_names
from meshagent.api.documents.jsonschemas import merge, no_arguments_schema, prompt_schema, validation_schema
from meshagent.api.documents.schema import (
    ChildProperty,
    ElementType,
    MeshSchema,
    MeshSchemaException,
    MeshSchemaValidationException,
    ValueProperty,
)


def child(tag_name: str) -> ElementType:
    return ElementType(tag_name=tag_name, properties=[ValueProperty(name="prop", type="number")])


def sample(*, ordered: bool = False) -> MeshSchema:
    tags = ["child1", "child2"]
    root = ElementType(
        tag_name="sample",
        description="the root",
        properties=[ChildProperty(name="children", child_tag_names=tags, ordered=ordered, description="c")],
    )
    return MeshSchema(root_tag_name="sample", elements=[root, *map(child, tags)])


def is_valid(schema: MeshSchema, data: Any) -> bool:
    Draft202012Validator.check_schema(schema.to_json())
    return bool(Draft202012Validator(schema.to_json()).is_valid(data))


@pytest.mark.parametrize("ordered", [False, True])
def test_generated_json_schema_accepts_documents_and_rejects_others(ordered: bool) -> None:
    schema = sample(ordered=ordered)
    one, two = {"child1": {"prop": 1}}, {"child2": {"prop": 2}}
    assert is_valid(schema, {"sample": {"children": [one, two]}})
    assert is_valid(schema, {"sample": {"children": [two, one]}}) is not ordered
    wrong_children: list[Any] = [
        {"child1": {"prop": "x"}},
        {"child1": {}},
        {"child1": {"prop": 1, "more": 2}},
        {"sample": {}},
    ]
    for wrong in wrong_children:
        assert not is_valid(schema, {"sample": {"children": [wrong]}})
    assert not is_valid(schema, {"sample": {}})


@pytest.mark.parametrize("name", builtin_schema_names())
def test_builtin_schemas_round_trip_exactly(name: str) -> None:
    schema = builtin_schema(name)
    assert schema is not None
    json = schema.to_json()
    assert next(iter(json)) == "$root_tag_ref"
    assert list(json)[-1] == "$defs"
    again = MeshSchema.from_json(json).to_json()
    assert again == json
    assert str(again) == str(json)  # key order too
    assert schema.root_tag_name == name


def test_no_builtin_schema_of_another_name() -> None:
    assert builtin_schema("nothing") is None


def test_round_trip_keeps_enum_order_and_empty_child_lists() -> None:
    element = ElementType(
        tag_name="e",
        properties=[
            ValueProperty(name="kind", type="string", enum=["b", "a"], description="d"),
            ValueProperty(name="none", type="null", enum=[]),
            ChildProperty(name="children", child_tag_names=[]),
        ],
    )
    empty = ElementType(
        tag_name="o", properties=[ChildProperty(name="c", child_tag_names=[], ordered=True)], description="o"
    )
    json = MeshSchema(root_tag_name="e", elements=[element, empty]).to_json()
    again = MeshSchema.from_json(json)
    assert str(again.to_json()) == str(json)
    kind = again.root.property("kind")
    assert isinstance(kind, ValueProperty)
    assert kind.enum == ["b", "a"]
    ordered = again.element("o").child_property
    assert ordered is not None
    assert ordered.ordered


def test_thread_schema_follows_the_chat_protocol() -> None:
    schema = builtin_schema("thread")
    assert schema is not None
    assert schema.root.child_property is not None
    assert schema.root.child_property.child_tag_names == ["members", "messages"]
    assert schema.root.child_property.ordered
    assert schema.element("messages").allows_child("ui")
    assert not schema.element("members").allows_child("message")


def test_inconsistent_schemas_are_refused() -> None:
    def build(*elements: ElementType, root: str = "a") -> None:
        MeshSchema(root_tag_name=root, elements=elements)

    def a(*properties: Any) -> ElementType:
        return ElementType(tag_name="a", properties=properties)

    kids = ChildProperty(name="kids", child_tag_names=["a"])
    value = ValueProperty(name="v", type="string")
    cases: list[tuple[list[ElementType], str]] = [
        ([a(), a()], "a"),
        ([a()], "b"),
        ([a(ValueProperty(name="v", type="integer"))], "a"),  # type: ignore[arg-type]  # the point of the test
        ([a(kids, ChildProperty(name="more", child_tag_names=[]))], "a"),
        ([a(value, value)], "a"),
        ([a(ChildProperty(name="kids", child_tag_names=["zzz"]))], "a"),
        ([ElementType(tag_name="", properties=[])], ""),
    ]
    for elements, root in cases:
        with pytest.raises(MeshSchemaValidationException):
            build(*elements, root=root)
    build(a(kids, value))


@pytest.mark.parametrize(
    "json",
    [
        {},
        {"$root_tag_ref": "#/$defs/a"},
        {"$root_tag_ref": "a", "$defs": {}},
        {"$root_tag_ref": "#/$defs/a", "$defs": {"a": {}}},
        {"$root_tag_ref": "#/$defs/a", "$defs": {"a": {"properties": {}}}},
        {"$root_tag_ref": "#/$defs/a", "$defs": {"a": 3}},
        {"$root_tag_ref": "#/$defs/a", "$defs": {"a": {"properties": {"a": {"properties": {"x": {}}}}}}},
        {"$root_tag_ref": "#/$defs/a", "$defs": {"a": {"properties": {"a": {"properties": {"x": 1}}}}}},
        {
            "$root_tag_ref": "#/$defs/a",
            "$defs": {"a": {"properties": {"a": {"properties": {"x": {"type": "array"}}}}}},
        },
        [],
    ],
)
def test_json_that_is_no_schema_is_refused(json: Any) -> None:
    with pytest.raises(MeshSchemaValidationException):
        MeshSchema.from_json(json)


def test_unknown_elements_and_properties_have_no_answer() -> None:
    schema = sample()
    with pytest.raises(MeshSchemaException):
        schema.element("zzz")
    with pytest.raises(MeshSchemaException):
        schema.root.property("zzz")
    assert schema.root.child_property_name == "children"
    assert schema.element("child1").child_property_name is None


def test_argument_schemas() -> None:
    assert validation_schema("d")["required"] == ["is_valid", "message"]
    assert prompt_schema("d")["properties"]["prompt"]["type"] == "string"
    assert no_arguments_schema()["properties"] == {}
    base = no_arguments_schema("d")
    merged = merge(schema=base, additional_properties={"x": {"type": "string"}})
    assert merged["required"] == ["x"]
    assert base["properties"] == {}
    for schema in (validation_schema("d"), prompt_schema("d"), no_arguments_schema(), merged):
        assert schema["additionalProperties"] is False
        Draft202012Validator.check_schema(schema)
