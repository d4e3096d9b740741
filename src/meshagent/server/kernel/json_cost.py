"""What decoding a JSON text may cost: it cannot be interrupted, and holds the event loop in any thread.

A text that is strict JSON is checked at about 3 ms per MiB. Two things cost far more: building its values, for
requests that carry any JSON, and the lenient reading of what is not strict, such as NaN (protocol 2.3).
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

from meshagent.api.errors import LimitExceededError

MAX_JSON_VALUES: Final = 250_000
"""Most commas and opening brackets in a JSON text whose values are built, those in texts included."""

MAX_LENIENT_VALUES: Final = 20_000
"""The same for a text that is not strict JSON."""

_MAY_EXCEED_FLOATS: Final = re.compile(rb"[eE]\+?[0-9]{3}")

_FLAT_TYPES: Final = frozenset({str, int, float, bool, bytes, type(None), msgspec.Raw})


def count_values(text: bytes) -> int:
    """Commas and opening brackets: never less than the values of the text, its first one aside."""
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def check_strict(text: bytes) -> None:
    """Refuse a text that is not strict JSON and has many values.

    Raises:
        LimitExceededError: It has more than `MAX_LENIENT_VALUES`.
    """
    if len(text) <= MAX_LENIENT_VALUES or count_values(text) <= MAX_LENIENT_VALUES:
        return
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        limit = MAX_LENIENT_VALUES
        reason = f"JSON with more than {limit:,} values must be strict: {error}"
        raise LimitExceededError(reason, limit=limit) from None


def check_values(text: bytes) -> None:
    """Refuse a text with so many values that building them would hold up everybody; errors as in `check_strict`, and:

    Raises:
        LimitExceededError: It has more than `MAX_JSON_VALUES`.
    """
    if len(text) > MAX_JSON_VALUES and count_values(text) > MAX_JSON_VALUES:
        limit = MAX_JSON_VALUES
        raise LimitExceededError(f"a request carries {limit:,} JSON values at most", limit=limit)
    check_strict(text)
    if len(text) > MAX_LENIENT_VALUES and _MAY_EXCEED_FLOATS.search(text):
        _check_numbers(text)


def _check_numbers(text: bytes) -> None:
    """Refuse numbers beyond 64-bit floats, such as 1e999: they are read leniently too."""
    if count_values(text) > MAX_LENIENT_VALUES:
        try:
            msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            limit = MAX_LENIENT_VALUES
            reason = f"JSON with more than {limit:,} values must be strict: {error}"
            raise LimitExceededError(reason, limit=limit) from None


def check_request(text: bytes, kind: type[Any]) -> None:
    """Check a text that is going to be decoded as `kind`; errors as in `check_values`."""
    if len(text) > MAX_LENIENT_VALUES:
        if _builds_values(kind):
            check_values(text)
        else:
            check_strict(text)


def _builds_values(kind: type[Any]) -> bool:
    """Whether decoding builds as many values as the text has; `Raw` members stay text."""
    if not issubclass(kind, msgspec.Struct):
        return True
    return any(_is_open(field.type) for field in msgspec.structs.fields(kind))


def _is_open(field_type: Any) -> bool:
    if field_type in _FLAT_TYPES or get_origin(field_type) is Literal:
        return False
    members = get_args(field_type)
    is_union = bool(members) and get_origin(field_type) not in (list, dict, tuple, set)
    return any(_is_open(member) for member in members) if is_union else True
