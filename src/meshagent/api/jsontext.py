"""JSON text as it travels: fast for what everyone sends, tolerant of what Python programs may send.

Python's own encoder writes `NaN`, `Infinity` and lone surrogates that strict decoders refuse, and clients
turn unknown values into text with `str()` (protocol 2.3). Reading accepts all of that; what we
write is strict JSON: not-a-number and infinities become null, lone surrogates U+FFFD. A member of a request whose null
has a meaning of its own, such as "no lease", is never made null so: see `decode` and `check_numbers`.
"""

from __future__ import annotations

import json
import math
from typing import Any, TypeVar, cast, get_args

import msgspec

from meshagent.api.errors import InvalidRequestError

Json = Any
"""Any JSON value: None, bool, int, float, str, list or dict with string keys."""

T = TypeVar("T")

_encoder = msgspec.json.Encoder(enc_hook=str)
_decoder = msgspec.json.Decoder()


def dumps(value: Json) -> bytes:
    """UTF-8 JSON text of `value`; datetimes in ISO 8601, values that JSON lacks as their `str()`."""
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, OverflowError):
        # Integers beyond 64 bits, non-string keys, lone surrogates: rare, so the slow way round is enough.
        return json.dumps(_strict(value), default=str).encode()


def loads(text: bytes | str) -> Json:
    """The value of a JSON text.

    Raises:
        InvalidRequestError: The text is not JSON.
    """
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _loads_tolerant(text)


def raw(value: Json) -> msgspec.Raw:
    """`value` as JSON text that structs carry along without looking into it."""
    return msgspec.Raw(dumps(value))


def text_as_raw(text: str) -> msgspec.Raw:
    """A JSON text as it is, or made strict; errors as in `loads`."""
    try:
        return msgspec.Raw(bytes(msgspec.json.decode(text, type=msgspec.Raw)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw(loads(text))


def decode(text: bytes, kind: type[T], *, keeps_numbers: bool = False) -> T:
    """A JSON text as a value of type `kind`; unknown keys are ignored, nulls of optional keys count as absent.

    NaN and infinities count as null within members that carry any JSON. As the value of a declared member they are
    refused, since null may have a meaning there. A type with `STRICT_NUMBERS` true refuses them everywhere.

    Args:
        text: The JSON text.
        kind: The type.
        keeps_numbers: Leave NaN and infinities, as Python writes them, in members that stay text, for a later
            `decode` to judge. Such a member must not be sent to anybody.

    Raises:
        InvalidRequestError: Not JSON, or a required key is missing or has the wrong type; the text names it.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        members = None if _exceeds_floats(error) else _members(text)
        if members is not None:
            try:
                return msgspec.json.decode(dumps(_without_optional_nulls(members, kind)), type=kind)
            except msgspec.ValidationError as wrong:
                if not _exceeds_floats(wrong):
                    raise InvalidRequestError(_readable(wrong)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    return _decode_leniently(text, kind, keeps_numbers=keeps_numbers)


def _exceeds_floats(error: msgspec.ValidationError) -> bool:
    """Whether a number such as 1e999 is what is wrong: Python reads it as infinity."""
    return "out of range" in str(error)


def _members(text: bytes) -> dict[str, msgspec.Raw | None] | None:
    """The members of an object as text, so that large ones are not built only to be refused; None for all else."""
    try:
        members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return {key: None if bytes(value).strip() == b"null" else value for key, value in members.items()}


def _decode_leniently(text: bytes, kind: type[T], *, keeps_numbers: bool) -> T:
    if getattr(kind, "STRICT_NUMBERS", False):
        return convert(loads_strict_numbers(text), kind)
    value = _loads_anything(text)
    if not isinstance(value, dict) or not issubclass(kind, msgspec.Struct):
        return convert(_strictly(value), kind)
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    for name, item in value.items():
        if name in fields and not _is_any_json(fields[name]):
            _refuse_number(item, name)
    if not keeps_numbers:
        return convert(_strictly(value), kind)
    strict = _strictly(value)
    texts = {name: msgspec.Raw(json.dumps(value[name]).encode()) for name in strict if fields.get(name) is msgspec.Raw}
    try:
        return msgspec.convert({**_without_optional_nulls(strict, kind), **texts}, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(_readable(error)) from None


def _is_any_json(field_type: Any) -> bool:
    return field_type is Any or field_type is msgspec.Raw or msgspec.Raw in get_args(field_type)


def check_numbers(request: msgspec.Struct) -> None:
    """Check the numbers of a request that is going to be written: `dumps` would make null of NaN and infinities.

    Raises:
        InvalidRequestError: A member is one of those; the text names it.
    """
    for name in request.__struct_fields__:
        _refuse_number(getattr(request, name), name)


def _refuse_number(value: Json, name: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidRequestError(f"{name}: NaN, infinity and numbers beyond 64-bit floats are no JSON values")


def loads_strict_numbers(text: bytes | str) -> Json:
    """As `loads`, but not-a-number and infinities, and numbers that no 64-bit float holds, are refused.

    Raises:
        InvalidRequestError: The text is not JSON, or has such a number; the error names the key whose value has it.
    """
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        _refuse_not_finite(_loads_anything(text), "the value")
        return _loads_tolerant(text)


def convert(value: Json, kind: type[T]) -> T:
    """As `decode`, from a value that is decoded already."""
    try:
        return msgspec.json.decode(dumps(_without_optional_nulls(value, kind)), type=kind)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(_readable(error)) from None


def _without_optional_nulls(value: Json, kind: type[Any]) -> Json:
    """`value` without the null members whose field in `kind` has a default."""
    if not isinstance(value, dict) or not issubclass(kind, msgspec.Struct):
        return value
    optional = {field.encode_name for field in msgspec.structs.fields(kind) if not field.required}
    return {key: item for key, item in value.items() if item is not None or key not in optional}


def _readable(error: msgspec.ValidationError) -> str:
    text = str(error).replace("Object missing required field", "missing field")
    return "invalid request: " + text[:1].lower() + text[1:]


def _loads_tolerant(text: bytes | str) -> Json:
    return _strictly(_loads_anything(text))


def _strictly(value: Json) -> Json:
    try:
        return _strict(value)
    except RecursionError as error:
        raise InvalidRequestError(f"invalid JSON: {error}") from None


def _loads_anything(text: bytes | str) -> Json:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"invalid JSON: {error}") from None


def _refuse_not_finite(value: Json, name: str) -> None:
    """Raise InvalidRequestError for the first number in `value`, which is called `name`, that is none."""
    waiting = [(name, value)]
    while waiting:
        name, value = waiting.pop()
        _refuse_number(value, name)
        if isinstance(value, dict):
            waiting += [(f"column {key!r}", item) for key, item in value.items()]
        elif isinstance(value, list):
            waiting += [(name, item) for item in value]


def _strict(value: Json) -> Json:
    """`value` without what strict JSON or UTF-8 cannot hold."""
    if isinstance(value, dict):
        return {_strict(str(key)): _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode() if _has_surrogate(value) else value
    return cast(Json, value)


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()  # far faster than a look at each character
    except UnicodeEncodeError:
        return True
    return False
