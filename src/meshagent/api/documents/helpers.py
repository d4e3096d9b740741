"""Small helpers that existing code imports from `meshagent.api.schema_document`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from meshagent.api.errors import InvalidRequestError

__all__ = ["attributes_from_json", "splice", "str_slice", "tag_name_from_json"]

_Item = TypeVar("_Item")


def tag_name_from_json(json: Mapping[str, Any]) -> str:
    """The tag of an element in its JSON form (protocol 8.3)."""
    if len(json) != 1:
        raise InvalidRequestError("an element must be an object with one key, its tag")
    return next(iter(json))


def attributes_from_json(json: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of an element in its JSON form: its content without the list of children."""
    content = json[tag_name_from_json(json)]
    return {name: value for name, value in content.items() if not isinstance(value, list)}


def str_slice(text: str, start: int, end: int | None = None) -> str:
    """The characters from `start` up to `end`, exclusive."""
    return text[start:end]


def splice(items: list[_Item], start: int, delete_count: int, *inserted: _Item) -> list[_Item]:
    """Replace `delete_count` items at `start` in place; returns the removed items."""
    removed = items[start : start + delete_count]
    items[start : start + delete_count] = inserted
    return removed
