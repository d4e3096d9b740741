"""SQL literals for values, safe against SQL injection."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from meshagent.api.errors import InvalidRequestError
from meshagent.server.stores.tables.sql_tokens import quote_text

__all__ = ["sql_literal"]


def sql_literal(value: Any) -> str:
    """The SQL expression for a value from `RowReader.read_value`.

    Raises:
        InvalidRequestError: An empty object, which the engine's SQL cannot express.
    """
    match value:
        case None:
            return "NULL"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return quote_text(value)
        case bytes():
            return f"X'{value.hex()}'"
        case datetime():
            return quote_text(value.isoformat(sep=" "))
        case date():
            return quote_text(value.isoformat())
        case list() if not value:
            return "make_array()"
        case list():
            return "[" + ", ".join(sql_literal(item) for item in _with_one_number_type(value)) + "]"
        case dict() if value:
            members = ", ".join(f"{quote_text(key)}, {sql_literal(item)}" for key, item in value.items())
            return f"named_struct({members})"
    raise InvalidRequestError(f"cannot assign a value of type {type(value).__name__}")


def _with_one_number_type(items: list[Any]) -> list[Any]:
    """Numbers of one type: the engine's arrays cannot mix integers and floats."""
    kinds = set(map(type, items))
    return [float(item) for item in items] if kinds == {int, float} else items
