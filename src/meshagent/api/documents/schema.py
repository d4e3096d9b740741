"""Document schemas: which tags, attributes and children a document may hold.

A schema is itself a valid JSON Schema of the document's JSON form, and is sent to every client that opens a
document. Reading one and writing it again changes nothing, not even the order of its keys.

Source: protocol 8.1 and 8.2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, cast, get_args

from meshagent.api.errors import InvalidRequestError

__all__ = [
    "ChildProperty",
    "ElementProperty",
    "ElementType",
    "MeshSchema",
    "MeshSchemaException",
    "MeshSchemaValidationException",
    "SimpleValue",
    "ValueProperty",
]

SimpleValue = Literal["number", "string", "null", "boolean"]
JsonObject = dict[str, Any]

_REF_PREFIX: Final = "#/$defs/"


class MeshSchemaException(InvalidRequestError):
    """The schema does not define or allow an element, property or value."""


class MeshSchemaValidationException(MeshSchemaException):
    """The schema itself is invalid."""


class ElementProperty(ABC):
    """One property of an element: an attribute (`ValueProperty`) or its children (`ChildProperty`)."""

    def __init__(self, name: str, description: str | None = None) -> None:
        self.name = name
        self.description = description

    @abstractmethod
    def validate(self, schema: MeshSchema) -> None:
        """Raise `MeshSchemaValidationException` if the property cannot be part of `schema`."""

    @abstractmethod
    def to_json(self) -> JsonObject:
        """The property as an object of one key, its name (protocol 8.1)."""

    def _with_description(self, definition: JsonObject) -> JsonObject:
        if self.description is not None:
            definition["description"] = self.description
        return {self.name: definition}


class ValueProperty(ElementProperty):
    """An attribute of an element: a simple value, optionally one of `enum`."""

    def __init__(
        self,
        *,
        name: str,
        type: SimpleValue,
        description: str | None = None,
        enum: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(name=name, description=description)
        self.type = type
        self.enum = None if enum is None else list(enum)

    def validate(self, schema: MeshSchema) -> None:
        if self.type not in get_args(SimpleValue):
            raise MeshSchemaValidationException(
                f"property {self.name!r} has type {self.type!r}; a value is one of " + ", ".join(get_args(SimpleValue))
            )

    def to_json(self) -> JsonObject:
        definition: JsonObject = {"type": self.type}
        if self.enum is not None:
            definition["enum"] = list(self.enum)
        return self._with_description(definition)


class ChildProperty(ElementProperty):
    """The children of an element: any number with these tags or, if `ordered`, one of each in order."""

    def __init__(
        self,
        *,
        name: str,
        child_tag_names: Iterable[str],
        description: str | None = None,
        ordered: bool = False,
    ) -> None:
        super().__init__(name=name, description=description)
        self.child_tag_names = list(child_tag_names)
        self.ordered = ordered
        self._allowed = frozenset(self.child_tag_names)

    def is_tag_allowed(self, tag_name: str) -> bool:
        """Whether a child may have this tag."""
        return tag_name in self._allowed

    def validate(self, schema: MeshSchema) -> None:
        for tag_name in self.child_tag_names:
            if tag_name not in schema.elements_by_tag_name:
                raise MeshSchemaValidationException(
                    f"property {self.name!r} allows the tag {tag_name!r}, which the schema does not define"
                )

    def to_json(self) -> JsonObject:
        references = [{"$ref": _REF_PREFIX + tag_name} for tag_name in self.child_tag_names]
        definition: JsonObject = {"type": "array"}
        if self.ordered:
            definition["prefixItems"] = references
            definition["items"] = False
        else:
            definition["items"] = {"anyOf": references}
        return self._with_description(definition)


class ElementType:
    """A type of element: its tag and its properties, of which at most one holds children."""

    def __init__(self, *, tag_name: str, properties: Iterable[ElementProperty], description: str | None = None) -> None:
        self.tag_name = tag_name
        self.properties = list(properties)
        self.description = description
        self._by_name = {prop.name: prop for prop in self.properties}
        self.child_property = next((p for p in self.properties if isinstance(p, ChildProperty)), None)
        self.attribute_names = frozenset(p.name for p in self.properties if isinstance(p, ValueProperty))

    @property
    def child_property_name(self) -> str | None:
        """Name of the property that holds the children; `None` for an element without children."""
        return None if self.child_property is None else self.child_property.name

    def property(self, name: str) -> ElementProperty:
        """The property of that name; `MeshSchemaException` if there is none."""
        prop = self._by_name.get(name)
        if prop is None:
            raise MeshSchemaException(f"element {self.tag_name!r} has no property {name!r}")
        return prop

    def allows_child(self, tag_name: str) -> bool:
        """Whether an element of this type may contain one with that tag."""
        return self.child_property is not None and self.child_property.is_tag_allowed(tag_name)

    def validate(self, schema: MeshSchema) -> None:
        """Raise `MeshSchemaValidationException` if the element cannot be part of `schema`."""
        if not self.tag_name:
            raise MeshSchemaValidationException("an element needs a tag name")
        if len(self._by_name) != len(self.properties):
            raise MeshSchemaValidationException(f"element {self.tag_name!r} has two properties with the same name")
        if sum(isinstance(prop, ChildProperty) for prop in self.properties) > 1:
            raise MeshSchemaValidationException(f"element {self.tag_name!r} has more than one child property")
        for prop in self.properties:
            prop.validate(schema)

    def to_json(self) -> JsonObject:
        """The element's definition (protocol 8.1)."""
        properties: JsonObject = {}
        for prop in self.properties:
            properties.update(prop.to_json())
        body = {
            "type": "object",
            "additionalProperties": False,
            "required": [prop.name for prop in self.properties],
            "properties": properties,
        }
        definition: JsonObject = {
            "type": "object",
            "additionalProperties": False,
            "required": [self.tag_name],
            "properties": {self.tag_name: body},
        }
        if self.description is not None:
            definition["description"] = self.description
        return definition

    @staticmethod
    def from_json(json: Mapping[str, Any]) -> ElementType:
        """Read an element definition; `MeshSchemaValidationException` if it is invalid."""
        tags = _mapping(json.get("properties"), "an element definition needs `properties`")
        if len(tags) != 1:
            raise MeshSchemaValidationException("an element definition must have exactly one tag in `properties`")
        [(tag_name, body)] = tags.items()
        body = _mapping(body, f"the definition of element {tag_name!r} must be an object")
        properties = _mapping(body.get("properties", {}), f"`properties` of element {tag_name!r} must be an object")
        return ElementType(
            tag_name=tag_name,
            properties=[_property_from_json(name, definition) for name, definition in properties.items()],
            description=json.get("description"),
        )


class MeshSchema:
    """The schema of a type of document.

    Attributes:
        root_tag_name: Tag of the root element.
        elements: The types of elements, in the order of `$defs`.
        elements_by_tag_name: The same, by tag.

    Raises:
        MeshSchemaValidationException: On construction, if a rule of protocol 8.2 is broken.
    """

    def __init__(self, *, root_tag_name: str, elements: Iterable[ElementType]) -> None:
        self.root_tag_name = root_tag_name
        self.elements = list(elements)
        self.elements_by_tag_name = {element.tag_name: element for element in self.elements}
        self.validate()

    @property
    def root(self) -> ElementType:
        """The type of the root element."""
        return self.elements_by_tag_name[self.root_tag_name]

    def element(self, name: str) -> ElementType:
        """The type of elements with that tag; `MeshSchemaException` if there is none."""
        element = self.elements_by_tag_name.get(name)
        if element is None:
            raise MeshSchemaException(f"the schema has no element {name!r}")
        return element

    def validate(self) -> None:
        """Raise `MeshSchemaValidationException` if the schema is inconsistent."""
        if len(self.elements_by_tag_name) != len(self.elements):
            raise MeshSchemaValidationException("two elements of the schema have the same tag")
        if self.root_tag_name not in self.elements_by_tag_name:
            raise MeshSchemaValidationException(f"the schema does not define its root element {self.root_tag_name!r}")
        for element in self.elements:
            element.validate(self)

    def to_json(self) -> JsonObject:
        """The schema as a JSON Schema: `$root_tag_ref`, the root's definition, `$defs`."""
        return {
            "$root_tag_ref": _REF_PREFIX + self.root_tag_name,
            **self.root.to_json(),
            "$defs": {element.tag_name: element.to_json() for element in self.elements},
        }

    @staticmethod
    def from_json(json: Mapping[str, Any]) -> MeshSchema:
        """Read a schema; only `$root_tag_ref` and `$defs` count (protocol 8.1)."""
        json = _mapping(json, "a schema must be an object")
        definitions = _mapping(json.get("$defs"), "a schema needs `$defs`")
        elements = [
            ElementType.from_json(_mapping(definition, "an entry of `$defs` must be an object"))
            for definition in definitions.values()
        ]
        return MeshSchema(root_tag_name=_tag_of_reference(json.get("$root_tag_ref")), elements=elements)


def _mapping(value: object, message: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise MeshSchemaValidationException(message)
    return value


def _tag_of_reference(reference: object) -> str:
    if isinstance(reference, Mapping):
        reference = reference.get("$ref")
    if not isinstance(reference, str) or not reference.startswith(_REF_PREFIX):
        raise MeshSchemaValidationException(f"{reference!r} does not refer to an entry of `$defs`")
    return reference.removeprefix(_REF_PREFIX)


def _property_from_json(name: str, definition: object) -> ElementProperty:
    body = _mapping(definition, f"the definition of property {name!r} must be an object")
    if body.get("type") != "array":
        return ValueProperty(
            name=name,
            type=cast(SimpleValue, body.get("type")),  # an unknown type is refused by validate()
            description=body.get("description"),
            enum=body.get("enum"),
        )
    ordered = "prefixItems" in body
    references = body["prefixItems"] if ordered else _any_of(name, body.get("items"))
    if not isinstance(references, list):
        raise MeshSchemaValidationException(f"the tags of child property {name!r} must be a list")
    return ChildProperty(
        name=name,
        child_tag_names=[_tag_of_reference(reference) for reference in references],
        description=body.get("description"),
        ordered=ordered,
    )


def _any_of(name: str, items: object) -> object:
    return _mapping(items, f"child property {name!r} needs `items` or `prefixItems`").get("anyOf", [])
