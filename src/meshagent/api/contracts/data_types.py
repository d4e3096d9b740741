"""Types of the columns of a room's tables (protocol 11.3)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from meshagent.api.errors import InvalidRequestError

__all__ = [
    "DataType",
    "DateDataType",
    "FloatDataType",
    "IntDataType",
    "MAX_VECTOR_SIZE",
    "TextDataType",
    "TimestampDataType",
    "VectorDataType",
]

MAX_VECTOR_SIZE = 65_536


class DataType(ABC):
    """What a column holds; every column may hold null."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Its form in a request, such as `{"type": "int"}`."""

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> DataType:
        """The inverse of `to_json`.

        Raises:
            InvalidRequestError: There is no such type, or a vector lacks its size or its elements' type.
        """
        kind = data.get("type")
        if kind == VectorDataType.kind:
            return _vector_from_json(data)
        plain = _PLAIN_TYPES.get(kind) if isinstance(kind, str) else None
        if plain is None:
            raise InvalidRequestError(f"unknown column type {str(kind)[:100]!r}")
        return plain()


class _PlainDataType(DataType):
    """A type without parameters."""

    kind: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        return {"type": self.kind}


@dataclass(frozen=True, slots=True)
class IntDataType(_PlainDataType):
    """Whole numbers of 64 bits."""

    kind: ClassVar[str] = "int"


@dataclass(frozen=True, slots=True)
class FloatDataType(_PlainDataType):
    """Floating point numbers of 64 bits; of 32 bits as elements of a vector."""

    kind: ClassVar[str] = "float"


@dataclass(frozen=True, slots=True)
class TextDataType(_PlainDataType):
    """Unicode text."""

    kind: ClassVar[str] = "text"


@dataclass(frozen=True, slots=True)
class DateDataType(_PlainDataType):
    """Days; values are texts of the form `YYYY-MM-DD`."""

    kind: ClassVar[str] = "date"


@dataclass(frozen=True, slots=True)
class TimestampDataType(_PlainDataType):
    """Points in time in microseconds; values are ISO 8601 texts. One with an offset is kept, and read back, in UTC."""

    kind: ClassVar[str] = "timestamp"


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorDataType(DataType):
    """`size` numbers of type `element_type`; values are lists of that length."""

    kind: ClassVar[str] = "vector"

    size: int
    element_type: DataType

    def to_json(self) -> dict[str, Any]:
        return {"type": self.kind, "size": self.size, "element_type": self.element_type.to_json()}


def _vector_from_json(data: Mapping[str, Any]) -> VectorDataType:
    size, element = data.get("size"), data.get("element_type")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= MAX_VECTOR_SIZE:
        raise InvalidRequestError(f"vector size must be 1 to {MAX_VECTOR_SIZE}, not {str(size)[:100]}")
    if not isinstance(element, Mapping):
        raise InvalidRequestError("a vector needs an element_type")
    return VectorDataType(size=size, element_type=DataType.from_json(element))


_PLAIN_TYPES: Mapping[str, type[_PlainDataType]] = {
    plain.kind: plain for plain in (IntDataType, FloatDataType, TextDataType, DateDataType, TimestampDataType)
}
