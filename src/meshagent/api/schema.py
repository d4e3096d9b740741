"""Document schemas under their public names (spec room-protocol 9.8)."""

from meshagent.api.documents.schema import (
    ChildProperty,
    ElementProperty,
    ElementType,
    MeshSchema,
    MeshSchemaException,
    MeshSchemaValidationException,
    SimpleValue,
    ValueProperty,
)

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
