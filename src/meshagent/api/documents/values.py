"""Values that a document can hold, and positions in its texts.

The CRDT stores JSON values. Of other values pycrdt 0.14 silently stores null, or it panics, so they are refused before
they reach it. Whole numbers are the same value as integer and as float: the CRDT writes both alike where a float is
exact, so all that fit into 64 bits are read as integers (protocol 8.4).
"""

from __future__ import annotations

import math
from typing import Any, Final

from meshagent.api.errors import InvalidRequestError

__all__ = ["check_text", "check_value", "clean_attributes", "clean_value", "is_clean", "same_value", "utf8_offset"]

_INT64: Final = 2**63
_MAX_NESTING: Final = 64


def check_text(text: str, what: str) -> None:
    """Raise `InvalidRequestError` if `text` cannot be encoded as UTF-8: it has a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(f"{what}: the text has a lone surrogate at position {error.start}") from error


def check_value(value: object, what: str, *, depth: int = 0) -> None:
    """Raise `InvalidRequestError` if a document cannot hold `value`; `what` names the place in the text.

    Held: None, booleans, strings, integers of 64 bits but 2^63 - 1, finite floats, and lists, tuples and string-keyed
    dicts of these, nested at most 64 deep.
    """
    if depth > _MAX_NESTING:
        raise InvalidRequestError(f"{what}: the value is nested more than {_MAX_NESTING} levels deep")
    match value:
        case None | bool():
            return
        case str():
            check_text(value, what)
        case int():
            if value == _INT64 - 1:  # the library takes it for a float that is exact, and writes 2^63
                raise InvalidRequestError(f"{what}: the integer 2^63 - 1 cannot be stored exactly")
            if not -_INT64 <= value < _INT64:
                raise InvalidRequestError(f"{what}: the integer does not fit into 64 bits")
        case float():
            if not math.isfinite(value):
                raise InvalidRequestError(f"{what}: {value} is not a JSON number")
        case list() | tuple():
            for item in value:
                check_value(item, what, depth=depth + 1)
        case dict():
            for key, item in value.items():
                if not isinstance(key, str):
                    raise InvalidRequestError(f"{what}: object keys must be strings, not {key!r:.80}")
                check_text(key, what)
                check_value(item, what, depth=depth + 1)
        case _:
            raise InvalidRequestError(f"{what}: a document cannot hold a {type(value).__name__}")


def is_clean(value: object) -> bool:
    """Whether a value read from a CRDT is a JSON value, without bytes, shared types or NaN in it."""
    match value:
        case None | bool() | str() | int():
            return True
        case float():
            return math.isfinite(value)
        case list():
            return all(map(is_clean, value))
        case dict():
            return all(map(is_clean, value.values()))
        case _:
            return False


def same_value(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal, booleans and numbers being different: `True` is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_value(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_value, one, other))
    return bool(one == other)


def clean_value(value: Any) -> Any:
    """A value read from a CRDT as JSON: whole floats of 64 bits become integers; what JSON cannot hold becomes null."""
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            if value.is_integer() and -_INT64 <= value < _INT64:
                return int(value)
            return value if math.isfinite(value) else None
        case list():
            return [clean_value(item) for item in value]
        case dict():
            return {key: clean_value(item) for key, item in value.items()}
        case _:
            return None


def clean_attributes(attributes: Any) -> dict[str, Any]:
    """A dict of cleaned values from a mapping, pairs, or None."""
    return {key: clean_value(value) for key, value in dict(attributes or {}).items()}


def utf8_offset(text: str, index: int) -> int:
    """The offset in bytes of the character at `index` of `text` (protocol 8.7)."""
    return index if text.isascii() else len(text[:index].encode())
