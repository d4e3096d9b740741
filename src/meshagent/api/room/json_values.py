"""Checks of values before they become JSON: what JSON cannot hold is refused instead of changed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from meshagent.api.errors import InvalidRequestError

__all__ = ["check_json_values"]

_PLAIN = {str, int, bool, type(None)}


def check_json_values(value: Any) -> None:
    """Raise InvalidRequestError for bytes, keys that are not strings, NaN and infinity, at any depth."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidRequestError(f"JSON takes only texts as keys, not {key!r:.50}: convert it")
            check_json_values(item)
    elif isinstance(value, (list, tuple)):
        _check_items(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InvalidRequestError(f"JSON has no {value}: use None, or leave it out")
    elif isinstance(value, (bytes, bytearray, memoryview)):
        raise InvalidRequestError("JSON has no bytes: convert them, for example to base64 text")


def _check_items(items: Sequence[Any]) -> None:
    """Like `check_json_values` for each item; fast for vectors."""
    kinds = set(map(type, items)) - _PLAIN
    if kinds == {float} and all(math.isfinite(item) for item in items if type(item) is float):
        return
    if kinds:
        for item in items:
            check_json_values(item)
