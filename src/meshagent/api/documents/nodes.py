"""The nodes of a document as programs see them.

An edit is sent as a change operation and comes back as a notification, which changes the nodes before the call returns.

Source: protocol 8.5 to 8.7.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from meshagent.api.documents.changes import node_to_json
from meshagent.api.documents.events import EventEmitter
from meshagent.api.documents.richtext import compose
from meshagent.api.documents.schema import ChildProperty, ElementType, MeshSchemaException
from meshagent.api.documents.tree import ID, TEXT_TAG, ElementNode, Node, TextNode, parse_element, runs_from_json
from meshagent.api.documents.values import check_value

if TYPE_CHECKING:
    from meshagent.api.documents.document import Document

__all__ = ["Element", "Text"]


class Text(EventEmitter):
    """The text of an element with the tag `text`.

    Positions and lengths count characters (code points), as Python strings do; positions beyond the end mean the end.
    Event: `updated(text)`.
    """

    def __init__(self, parent: Element, data: Mapping[str, Any], doc: Document) -> None:
        super().__init__()
        self.parent = parent
        self.doc = doc
        self._runs = compose((), data.get("delta") or ())

    @property
    def delta(self) -> list[dict[str, Any]]:
        """The text as runs: `[{"insert": str, "attributes": dict}]`."""
        return [run.to_json() for run in self._runs]

    def __str__(self) -> str:
        return "".join(run.insert for run in self._runs if isinstance(run.insert, str))

    def insert(self, index: int, text: str, attributes: dict[str, Any] | None = None) -> None:
        """Insert text that has exactly these formatting attributes."""
        self._send({"insertText": {"index": index, "text": text, "attributes": attributes}})

    def format(self, start: int, length: int, attributes: dict[str, Any]) -> None:
        """Set formatting attributes of a range; None removes an attribute."""
        self._send({"formatText": {"from": start, "length": length, "attributes": attributes}})

    def delete(self, index: int, length: int) -> None:
        """Delete a range of the text."""
        self._send({"deleteText": {"index": index, "length": length}})

    def append_delta(self, delta: Iterable[Mapping[str, Any]]) -> None:
        """Append runs in the form of `delta`, in one edit."""
        index = sum(len(run.insert) if isinstance(run.insert, str) else 1 for run in self._runs)
        changes = []
        for run in runs_from_json(list(delta)):
            changes.append({"insertText": {"index": index, "text": run.insert, "attributes": run.attributes}})
            index += len(run.insert)
        self._send(*changes)

    def _send(self, *changes: dict[str, Any]) -> None:
        self.doc._send([{"nodeID": self.parent.id, **change} for change in changes])

    def _apply(self, delta: Iterable[Mapping[str, Any]]) -> None:
        self._runs = compose(self._runs, delta)


class Element(EventEmitter):
    """One element: attributes by name, children in order. Elements compare by identity and are hashable.

    Events: `inserted(node)`, `deleted(node)` for its children, `updated(element, attribute_name)`.

    Attributes:
        tag_name: Its tag.
        parent: The element that contains it, None for the root.
        doc: The document it belongs to, or belonged to before it was deleted.
        schema: The type that the schema defines for its tag.
    """

    def __init__(self, parent: Element | None, data: Mapping[str, Any], doc: Document, schema: ElementType) -> None:
        super().__init__()
        self.parent = parent
        self.doc = doc
        self.schema = schema
        self.tag_name: str = data["tagName"]
        self._attributes: dict[str, Any] = dict(data.get("attributes") or {})
        self._children: list[Element | Text] = []

    @property
    def id(self) -> str | None:
        """The id of the element; None for the root."""
        element_id: str | None = None if self.parent is None else self._attributes.get(ID)
        return element_id

    def __repr__(self) -> str:
        return f"<Element {self.tag_name} {self.id}>"

    def __getitem__(self, name: str) -> Any:
        return self.get_attribute(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self.set_attribute(name, value)

    def get_attribute(self, name: str, default: Any = None) -> Any:
        """The value of an attribute, `default` if it is not set."""
        return self._attributes.get(name, default)

    def set_attribute(self, name: str, value: Any) -> None:
        """Set an attribute; its type is not checked.

        Raises:
            MeshSchemaException: The schema has no such attribute.
            InvalidRequestError: A document cannot hold the value.
        """
        self._check_attribute(self.schema, name)
        check_value(value, name)
        self.doc._send([{"nodeID": self.id, "setAttributes": {name: value}}])

    def _remove_attribute(self, name: str) -> None:
        self._check_attribute(self.schema, name)
        self.doc._send([{"nodeID": self.id, "removeAttributes": [name]}])

    def get_children(self) -> list[Element | Text]:
        """The children, elements and texts, in order; a copy of the list."""
        return list(self._children)

    def get_node_by_id(self, id: str) -> Element | None:
        """The element with that id, if it is this one or a descendant."""
        element: Element | None = self.doc._find(id)
        ancestor = element
        while ancestor is not None and ancestor is not self:
            ancestor = ancestor.parent
        return None if ancestor is None else element

    def append_child(self, tag_name: str, attributes: dict[str, Any] | None = None) -> Element:
        """Append a new element and return it.

        Raises:
            MeshSchemaException: The schema does not allow this child or one of the attributes.
            InvalidRequestError: A document cannot hold one of the values.
        """
        return self._insert(self._new(tag_name, attributes), {})

    def insert_child_at(self, index: int, tag_name: str, attributes: dict[str, Any] | None = None) -> Element:
        """As `append_child`, at a position among the children; beyond the end is the end."""
        return self._insert(self._new(tag_name, attributes), {"index": index})

    def insert_child_after(self, element: Element, tag_name: str, attributes: dict[str, Any] | None = None) -> Element:
        """As `append_child`, after `element`, which must be a child of this element."""
        if element.parent is not self:
            raise MeshSchemaException("the element to insert after is not a child of this one")
        return self._insert(self._new(tag_name, attributes), {"after": element.id})

    def append_json(self, json: Mapping[str, Any]) -> Element:
        """Append an element with its descendants from its JSON form (protocol 8.3).

        Raises:
            InvalidRequestError: The JSON does not fit the schema, or the document has an element with an `$id` in it;
                nothing changed.
        """
        return self._insert(parse_element(self.doc.schema, json, allowed=self._child_property().child_tag_names), {})

    def delete(self) -> None:
        """Delete the element from the document."""
        self.doc._send([{"nodeID": self.id, "delete": {}}])

    def to_json(self, *, include_ids: bool = False) -> dict[str, Any]:
        """The element with its descendants in the JSON form of protocol 8.3."""
        body = {name: value for name, value in self._attributes.items() if include_ids or name != ID}
        if self.schema.child_property_name is not None:
            body[self.schema.child_property_name] = [
                child.to_json(include_ids=include_ids)
                if isinstance(child, Element)
                else {TEXT_TAG: {"delta": child.delta}}
                for child in self._children
            ]
        return {self.tag_name: body}

    def _new(self, tag_name: str, attributes: dict[str, Any] | None) -> ElementNode:
        if not self._child_property().is_tag_allowed(tag_name):
            raise MeshSchemaException(f"element {self.tag_name!r} cannot contain {tag_name!r}")
        element_type = self.doc.schema.element(tag_name)
        for name, value in (attributes or {}).items():
            self._check_attribute(element_type, name)
            check_value(value, name)
        return ElementNode(tag_name, dict(attributes or {}))

    def _child_property(self) -> ChildProperty:
        if self.schema.child_property is None:
            raise MeshSchemaException(f"element {self.tag_name!r} cannot have children")
        return self.schema.child_property

    @staticmethod
    def _check_attribute(element_type: ElementType, name: str) -> None:
        if name != ID and isinstance(element_type.property(name), ChildProperty):
            raise MeshSchemaException(f"{name!r} holds the children of {element_type.tag_name!r}")

    def _insert(self, node: ElementNode, where: dict[str, Any]) -> Element:
        _complete(node)
        self.doc._check_new_ids(node)
        insert = {**where, "children": [node_to_json(node)]}
        self.doc._send([{"nodeID": self.id, "insertChildren": insert}])
        inserted = self.doc._find(node.attributes[ID])
        assert inserted is not None
        return inserted


def _complete(node: Node) -> None:
    """Add missing `$id`s, and the text nodes of elements with the tag `text`."""
    if isinstance(node, TextNode):
        return
    node.attributes.setdefault(ID, str(uuid.uuid4()))
    if node.tag == TEXT_TAG and not (node.children and isinstance(node.children[0], TextNode)):
        node.children.insert(0, TextNode())
    for child in node.children:
        _complete(child)
