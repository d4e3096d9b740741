"""The calls of the port `RoomTableStore`: which there are, and how their arguments and results travel."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, get_type_hints

import msgspec

from meshagent.server.stores.tables.table_store import RoomTableStore

__all__ = ["METHODS", "Method"]

_READS = frozenset(
    {"search", "count", "schema", "list_indexes", "describe_indexes", "open_search", "parse_sql", "open_query"}
)
"""They change nothing: after the end of a process they are called again."""

_OF_OPEN = frozenset(
    {"next_piece", "close_stream", "open_query_rows", "close_query", "upload", "upload_rows", "discard_upload"}
    | {"owner_left"}
)
"""They are about something that is open in one process: when it ends, so has that."""

_NOT_CALLED = frozenset({"close", "table_names"})


@dataclass(frozen=True, slots=True)
class Method:
    """One call.

    Attributes:
        name: Its name in the port.
        is_read: Whether it changes nothing, and may be done again.
        is_of_open: Whether it is about a stream, an upload or a query that is open.
        arguments: Reads its arguments from what travelled.
        result: Reads its result.
    """

    name: str
    is_read: bool
    is_of_open: bool
    arguments: msgspec.msgpack.Decoder[tuple[Any, ...]]
    result: msgspec.msgpack.Decoder[Any]

    @property
    def is_write(self) -> bool:
        """Whether a failure may leave it done or not done."""
        return not (self.is_read or self.is_of_open)


def _method(name: str) -> Method:
    hints = get_type_hints(getattr(RoomTableStore, name))
    result = hints.pop("return")
    arguments: Any = tuple.__class_getitem__(tuple(hints.values()))
    return Method(
        name, name in _READS, name in _OF_OPEN, msgspec.msgpack.Decoder(arguments), msgspec.msgpack.Decoder(result)
    )


METHODS = {
    name: _method(name)
    for name, _ in inspect.getmembers(RoomTableStore, inspect.isfunction)
    if not name.startswith("_") and name not in _NOT_CALLED
}
