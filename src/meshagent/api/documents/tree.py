"""A document's nodes as plain values, and their JSON forms.

Two JSON forms exist. The *document form* (protocol 8.3) is what people and agents read and write:
`{tag: {attribute: value, child_property: [...]}}`. The *node form* (6.5, 6.6) travels in change operations and
notifications: `{"element": {"name", "attributes", "children"}}`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from meshagent.api.documents.schema import ChildProperty, ElementType, MeshSchema, MeshSchemaException, ValueProperty
from meshagent.api.documents.values import check_text, check_value
from meshagent.api.errors import InvalidRequestError

__all__ = [
    "ID",
    "MAX_DEPTH",
    "TEXT_TAG",
    "ElementNode",
    "Node",
    "TextNode",
    "TextRun",
    "element_to_json",
    "is_text_json",
    "parse_attribute",
    "parse_document",
    "parse_element",
    "runs_from_json",
]

ID: Final = "$id"
"""Name of the attribute that identifies an element (protocol 8.4)."""

TEXT_TAG: Final = "text"
"""Elements of this tag hold a text node."""

MAX_DEPTH: Final = 100
"""How deep elements may be nested. The limit protects functions that recurse."""

JsonObject = dict[str, Any]


@dataclass(slots=True)
class TextRun:
    """Text with one formatting. `insert` is a string; other editors may embed other values."""

    insert: Any
    attributes: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> JsonObject:
        return {"insert": self.insert, "attributes": self.attributes}


@dataclass(slots=True)
class TextNode:
    """The text of an element with the tag `text`."""

    runs: list[TextRun] = field(default_factory=list)

    def to_json(self) -> JsonObject:
        return {"text": {"delta": [run.to_json() for run in self.runs]}}


@dataclass(slots=True)
class ElementNode:
    """An element; `attributes` include `$id` when it is known."""

    tag: str
    attributes: dict[str, Any] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)


Node = ElementNode | TextNode


def element_to_json(node: ElementNode, schema: MeshSchema, *, include_ids: bool = False) -> JsonObject:
    """The document form of an element (protocol 8.3).

    A tag the schema does not know keeps its attributes and loses its children: there is no name to show them under.
    """
    body = {name: value for name, value in node.attributes.items() if include_ids or name != ID}
    element_type = schema.elements_by_tag_name.get(node.tag)
    if element_type is not None and element_type.child_property is not None:
        body[element_type.child_property.name] = [
            child.to_json() if isinstance(child, TextNode) else element_to_json(child, schema, include_ids=include_ids)
            for child in node.children
        ]
    return {node.tag: body}


def parse_document(schema: MeshSchema, json: object) -> ElementNode:
    """Read the document form of a whole document.

    Properties may be missing: partial documents are normal (protocol 7.7).

    Raises:
        InvalidRequestError: The JSON does not fit the schema; the text says where.
    """
    return parse_element(schema, json, allowed=[schema.root_tag_name])


def parse_element(schema: MeshSchema, json: object, *, allowed: Sequence[str]) -> ElementNode:
    """Read the document form of one element whose tag must be one of `allowed`; errors as `parse_document`."""
    return _Parser(schema).element(json, allowed, "", 0)


def runs_from_json(delta: object, where: str = "delta") -> list[TextRun]:
    """Read a text delta: `[{"insert": str, "attributes"?: dict}]`. Empty runs are dropped."""
    if not isinstance(delta, list):
        raise InvalidRequestError(f"{where}: a text delta must be a list")
    runs = []
    for run in delta:
        if not isinstance(run, Mapping) or not isinstance(run.get("insert"), str):
            raise InvalidRequestError(f"{where}: each run of a text must be an object with a string `insert`")
        attributes = run.get("attributes") or {}
        if not isinstance(attributes, Mapping):
            raise InvalidRequestError(f"{where}: the `attributes` of a run must be an object")
        check_text(run["insert"], where)
        check_value(dict(attributes), where)
        if run["insert"]:
            runs.append(TextRun(run["insert"], dict(attributes)))
    return runs


class _Parser:
    def __init__(self, schema: MeshSchema) -> None:
        self._schema = schema
        self._ids: set[str] = set()

    def element(self, json: object, allowed: Sequence[str], where: str, depth: int) -> ElementNode:
        if depth > MAX_DEPTH:
            raise InvalidRequestError(f"{where}: elements are nested more than {MAX_DEPTH} levels deep")
        if not isinstance(json, Mapping) or len(json) != 1:
            raise InvalidRequestError(f"{where or 'the document'}: an element must be an object with one key, its tag")
        [(tag, body)] = json.items()
        where = f"{where}/{tag}"
        if tag not in allowed:
            expected = ", ".join(map(repr, allowed)) or "nothing"
            raise MeshSchemaException(f"{where}: the schema does not allow {tag!r} here, but {expected}")
        if not isinstance(body, Mapping):
            raise InvalidRequestError(f"{where}: the content of an element must be an object")
        element_type = self._schema.element(tag)
        node = ElementNode(tag)
        for name, value in body.items():
            if name == element_type.child_property_name:
                assert element_type.child_property is not None
                children = self._children(element_type, element_type.child_property, value, f"{where}/{name}", depth)
                node.children.extend(children)
            else:
                node.attributes[name] = parse_attribute(element_type, name, value, where)
        self._check_id(node, where)
        return node

    def _check_id(self, node: ElementNode, where: str) -> None:
        element_id = node.attributes.get(ID)
        if element_id in self._ids:
            raise InvalidRequestError(f"{where}: duplicate `{ID}` {element_id!r:.80}")
        if element_id is not None:
            self._ids.add(element_id)

    def _children(
        self, parent: ElementType, prop: ChildProperty, value: object, where: str, depth: int
    ) -> Iterator[Node]:
        if not isinstance(value, list):
            raise InvalidRequestError(f"{where}: children must be a list")
        position = 0
        for index, child in enumerate(value):
            here = f"{where}[{index}]"
            if parent.tag_name == TEXT_TAG and index == 0 and is_text_json(child):
                yield TextNode(runs_from_json(child[TEXT_TAG]["delta"], here))
                continue
            # Children of an ordered property come in its order; some may be missing.
            allowed = prop.child_tag_names[position:] if prop.ordered else prop.child_tag_names
            node = self.element(child, allowed, here, depth + 1)
            if prop.ordered:
                position += allowed.index(node.tag) + 1
            yield node


def is_text_json(json: Any) -> bool:
    """A text node, as opposed to an element with the tag `text` (protocol 8.3)."""
    if not isinstance(json, Mapping) or list(json) != [TEXT_TAG]:
        return False
    body = json[TEXT_TAG]
    return isinstance(body, Mapping) and list(body) == ["delta"]


def parse_attribute(element_type: ElementType, name: object, value: object, where: str) -> Any:
    """Read the value of an attribute, or of `$id`; errors as `parse_document`."""
    if name == ID:
        if not isinstance(value, str):
            raise InvalidRequestError(f"{where}: `{ID}` must be a string")
        check_text(value, where)
        return value
    if not isinstance(name, str):
        raise InvalidRequestError(f"{where}: attribute names must be strings")
    prop = element_type.property(name)
    assert isinstance(prop, ValueProperty)
    check_value(value, f"{where}/{name}")
    # Null stands for "not known" whatever the type: published clients write it into string attributes.
    if value is not None:
        _check_type(prop, value, f"{where}/{name}")
    return value


def _check_type(prop: ValueProperty, value: object, where: str) -> None:
    fits = {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "null": value is None,
    }[prop.type]
    if not fits:
        raise MeshSchemaException(f"{where}: expected a {prop.type}, not {value!r:.80}")
    if prop.enum is not None and value not in prop.enum:
        raise MeshSchemaException(f"{where}: {value!r:.80} is not one of {prop.enum!r:.200}")
