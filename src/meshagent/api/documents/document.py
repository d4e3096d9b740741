"""A document as programs see it: a tree of elements, kept up to date by change notifications.

Source: protocol 8.5, 8.6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import BaseModel

from meshagent.api.documents.changes import node_to_json
from meshagent.api.documents.events import EventEmitter
from meshagent.api.documents.nodes import Element, Text, _complete
from meshagent.api.documents.schema import ElementType, MeshSchema
from meshagent.api.documents.tree import ID, ElementNode, Node, parse_document
from meshagent.api.errors import InvalidRequestError

__all__ = ["Document"]

Emission = Callable[[], None]
_UNKNOWN_TYPES: Mapping[str, Any] = {}


class Document(EventEmitter):
    """A tree of elements.

    Events: `inserted(node)` and `deleted(node)` for each node, those below before those above;
    `updated(element, attribute_name)`.

    Args:
        schema: The schema of the document.
        broadcast_changes: Called with `{"documentID", "changes"}` for each edit (protocol 8.5). It must call
            `receive_changes` with the result before it returns.
        json: Initial content in the form of protocol 8.3.
    """

    def __init__(
        self,
        schema: MeshSchema,
        broadcast_changes: Callable[[dict[str, Any]], None],
        json: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.id: str | None = getattr(self, "id", None)
        self._schema = schema
        self._broadcast_changes = broadcast_changes
        self._index: dict[str, Element] = {}
        self._root = Element(None, {"tagName": schema.root_tag_name}, self, schema.root)
        if json is not None:
            self._fill(parse_document(schema, json))

    @property
    def schema(self) -> MeshSchema:
        """The schema of the document."""
        return self._schema

    @property
    def root(self) -> Element:
        """The root element; it has no id."""
        return self._root

    def to_json(self, *, include_ids: bool = False) -> dict[str, Any]:
        """The document in the JSON form of protocol 8.3."""
        return self._root.to_json(include_ids=include_ids)

    def receive_changes(self, notification: Mapping[str, Any] | BaseModel) -> None:
        """Apply one notification (protocol 8.6), then call the handlers. Changes to unknown elements are ignored."""
        for emission in self._apply(notification):
            emission()

    def _send(self, changes: Sequence[dict[str, Any]]) -> None:
        if changes:
            self._broadcast_changes({"documentID": self.id, "changes": list(changes)})

    def _fill(self, node: ElementNode) -> None:
        change: dict[str, Any] = {"nodeID": None}
        attributes = {name: value for name, value in node.attributes.items() if name != ID}
        if attributes:
            change["setAttributes"] = attributes
        if node.children:
            for child in node.children:
                _complete(child)
            change["insertChildren"] = {"children": [node_to_json(child) for child in node.children]}
        if len(change) > 1:
            self._send([change])

    def _check_new_ids(self, node: Node) -> None:
        """Raise `InvalidRequestError` if the document has an element with an id in this subtree."""
        if isinstance(node, ElementNode):
            if node.attributes[ID] in self._index:
                raise InvalidRequestError(f"the document has an element with the `$id` {node.attributes[ID]!r:.80}")
            for child in node.children:
                self._check_new_ids(child)

    def _find(self, element_id: str) -> Element | None:
        return self._index.get(element_id)

    def _apply(self, notification: Mapping[str, Any] | BaseModel) -> list[Emission]:
        """Apply one notification; returns the calls of handlers, to be made when all changes are applied."""
        if isinstance(notification, BaseModel):
            notification = notification.model_dump()
        target = notification.get("target")
        element = self._root if notification.get("root") or target is None else self._index.get(target)
        if element is None:
            return []
        emissions: list[Emission] = []
        self._apply_children(element, notification.get("elements") or (), emissions)
        self._apply_attributes(element, notification.get("attributes") or {}, emissions)
        if delta := notification.get("text"):
            text = next((child for child in element._children if isinstance(child, Text)), None)
            if text is not None:
                text._apply(delta)
                emissions.append(partial(text.emit, "updated", text))
        return emissions

    def _apply_children(self, parent: Element, delta: Sequence[Mapping[str, Any]], emissions: list[Emission]) -> None:
        position = 0
        for step in delta:
            if (nodes := step.get("insert")) is not None:
                inserted = [self._build(parent, node, emissions) for node in nodes]
                parent._children[position:position] = inserted
                position += len(inserted)
                emissions.extend(partial(parent.emit, "inserted", node) for node in inserted)
            elif (length := step.get("delete")) is not None:
                for node in parent._children[position : position + length]:
                    self._forget(node, emissions)
                    emissions.append(partial(parent.emit, "deleted", node))
                del parent._children[position : position + length]  # what follows moves up to this position
            else:
                position += step.get("retain") or 0

    def _apply_attributes(self, element: Element, change: Mapping[str, Any], emissions: list[Emission]) -> None:
        changed: dict[str, None] = {}
        for item in change.get("set") or ():
            if item["name"] == ID and element.id is not None:
                if self._index.get(element.id) is element:
                    del self._index[element.id]
                self._index[item["value"]] = element
            element._attributes[item["name"]] = item["value"]
            changed[item["name"]] = None
        for name in change.get("delete") or ():
            element._attributes.pop(name, None)
            changed[name] = None
        for name in changed:
            emissions.append(partial(element.emit, "updated", element, name))
            emissions.append(partial(self.emit, "updated", element, name))

    def _build(self, parent: Element, node: Mapping[str, Any], emissions: list[Emission]) -> Element | Text:
        """Create the nodes of a subtree; descendants are announced before their ancestors."""
        if "text" in node:
            text = Text(parent, node["text"], self)
            emissions.append(partial(self.emit, "inserted", text))
            return text
        data = node["element"]
        element = Element(parent, data, self, self._type_of(data["tagName"]))
        if element.id is not None:
            self._index[element.id] = element
        element._children.extend(self._build(element, child, emissions) for child in data.get("children") or ())
        emissions.append(partial(self.emit, "inserted", element))
        return element

    def _type_of(self, tag_name: str) -> ElementType:
        """The type of an element; one without properties if the schema, which may have changed, does not define it."""
        known = self._schema.elements_by_tag_name.get(tag_name)
        return known or ElementType(tag_name=tag_name, properties=())

    def _forget(self, node: Element | Text, emissions: list[Emission]) -> None:
        if isinstance(node, Element):
            for child in node._children:
                self._forget(child, emissions)
            if node.id is not None and self._index.get(node.id) is node:
                del self._index[node.id]
        emissions.append(partial(self.emit, "deleted", node))
