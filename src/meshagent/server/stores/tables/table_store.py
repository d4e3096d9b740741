"""What the services need of tables, in plain data: the port between rooms and whatever keeps their tables.

Rows, schemas and parameters pass through as the bytes they came in: JSON text, or Arrow IPC streams. Nothing here
imports an engine, so that a server can offer tables whose engines run in other processes, or on other machines.
`meshagent.server.engines` has two adapters: one in this process, for tests, and one with child processes.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from meshagent.api.contracts.database import CreateMode, IndexResult
from meshagent.api.contracts.dataset import IndexDescription
from meshagent.server.stores.tables.settings import DatabaseLimits

__all__ = [
    "EngineFigures",
    "IndexKind",
    "OpenedQuery",
    "OptimizeStats",
    "ParsedSql",
    "RoomTableStore",
    "TableSearch",
    "TableStore",
    "UploadStart",
]

IndexKind = Literal["vector", "scalar", "text"]


class TableSearch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to find; as `contracts.dataset.SearchRequest`, without the table."""

    where: str | None = None
    text: str | None = None
    vector: list[float] | None = None
    limit: int | None = None
    offset: int | None = None
    select: list[str] | None = None
    text_columns: list[str] | None = None


class OptimizeStats(msgspec.Struct, frozen=True, kw_only=True):
    """What an optimization did: data files merged, old versions and their bytes removed."""

    fragments_removed: int
    fragments_added: int
    bytes_removed: int
    versions_removed: int


class UploadStart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where uploaded rows go.

    Attributes:
        kind: Whether they become a new table, are added, or are merged.
        schema: For a new table: an Arrow stream that tells the columns; empty lets the first rows tell them.
        mode: For a new table: what if there is one already.
        metadata: For a new table: kept with its schema.
        on: For a merge: the columns whose values make a row the same.
    """

    kind: Literal["create", "insert", "merge"]
    table: str
    schema: bytes = b""
    mode: CreateMode = "create"
    metadata: list[tuple[str, str]] = msgspec.field(default_factory=list)
    on: list[str] = msgspec.field(default_factory=list)


class ParsedSql(msgspec.Struct, frozen=True, kw_only=True):
    """What an SQL text is, before anything runs.

    Attributes:
        is_query: Whether it is a query; else it changes rows.
        reads: The tables that it reads, by the names that it uses.
        changes: The table whose rows it changes, by that name; None for a query.
    """

    is_query: bool
    reads: list[str]
    changes: str | None = None


class OpenedQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A query that runs; `schema` is an Arrow stream without rows."""

    query_id: str
    schema: bytes


class EngineFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What the engines do.

    Attributes:
        processes: Engine processes that run.
        memory_bytes: Memory that they have in use.
        calls: Calls that wait for their answer.
        starts: Processes that were started so far.
        losses: Processes that crashed, or were killed for passing a bound, so far and by the reason.
    """

    processes: int = 0
    memory_bytes: int = 0
    calls: int = 0
    starts: int = 0
    losses: dict[str, int] = msgspec.field(default_factory=dict)


class RoomTableStore(Protocol):
    """The tables of one room. Names of tables must have been checked.

    Calls take effect in the order in which they are made. A write that returns is durable; one that is cancelled
    may be stored.

    Errors of all methods: `NotFoundError` for a table that does not exist, `InvalidRequestError` for what does not
    fit it or is not understood, `StoreFailedError` when a write is not known to be stored, `RequestTimeoutError` and
    `LimitExceededError` for what takes too much time or memory, `UnavailableError` while no engine can be had,
    `InvalidStateError` after `close`.

    Attributes:
        limits: Bounds of the room.
    """

    limits: DatabaseLimits

    async def table_names(self) -> list[str]:
        """The tables in alphabetical order; needs no engine."""
        ...

    async def create_table(self, name: str, rows: bytes, types: bytes, mode: CreateMode) -> None:
        """Make a table from a schema, from rows, or from both.

        Args:
            rows: JSON: one row, several, or null.
            types: JSON: the type of each column, or null to infer them from the rows.
        """
        ...

    async def drop_table(self, name: str) -> bool:
        """Remove a table with its rows; whether there was one."""
        ...

    async def rename_table(self, name: str, new_name: str) -> None:
        """Give a table another name, which must be free."""
        ...

    async def add_columns(self, name: str, expressions: dict[str, str], quoted_names: bool) -> None:
        """Add columns whose values are computed; `quoted_names` says that "x" is a name in them, and not a text."""
        ...

    async def add_empty_columns(self, name: str, schema: bytes) -> None:
        """Add the columns of an Arrow schema, null in all rows."""
        ...

    async def drop_columns(self, name: str, columns: list[str]) -> None:
        """Remove columns, all or none."""
        ...

    async def insert(self, name: str, rows: bytes) -> int:
        """Add rows of JSON, all or none; how many."""
        ...

    async def update(self, name: str, where: str, values: bytes, expressions: dict[str, str]) -> int:
        """Assign values, a JSON object or null, and expressions where a filter holds; in how many rows."""
        ...

    async def update_typed(self, name: str, where: str, assignments: list[tuple[str, str]]) -> int:
        """Assign to columns typed values as JSON texts; in how many rows."""
        ...

    async def delete(self, name: str, where: str, quoted_names: bool) -> int:
        """Delete the rows where a filter holds; how many."""
        ...

    async def merge(self, name: str, on: str, rows: bytes) -> None:
        """Update rows of JSON by the value of a column, insert those that match none."""
        ...

    async def search(self, name: str, search: TableSearch) -> bytes:
        """The rows found, as a JSON array."""
        ...

    async def count(self, name: str, search: TableSearch) -> int:
        """How many rows a search would find, paging aside."""
        ...

    async def schema(self, name: str) -> bytes:
        """The columns of a table, as an Arrow stream without rows."""
        ...

    async def optimize(self, name: str) -> OptimizeStats:
        """Put small files together, bring indexes up to date, remove old versions."""
        ...

    async def create_index(self, name: str, kind: IndexKind, column: str, replace: bool | None) -> None:
        """Index a column."""
        ...

    async def create_configured_index(self, name: str, config: bytes) -> None:
        """Index a column as a JSON object says (`dataset.create_index`)."""
        ...

    async def drop_index(self, name: str, index: str) -> None:
        """Remove an index by its name."""
        ...

    async def list_indexes(self, name: str) -> list[IndexResult]:
        """The indexes of a table."""
        ...

    async def describe_indexes(self, name: str) -> list[IndexDescription]:
        """The indexes of a table, with what is known of them."""
        ...

    # --- read piece by piece ---------------------------------------------------------------------------

    async def open_search(self, name: str, search: TableSearch) -> int:
        """Begin a search; the number of its stream of rows, for `next_piece`."""
        ...

    async def open_query_rows(self, owner: str, query_id: str) -> int:
        """Begin to read an open query of that participant; the number of its stream of rows."""
        ...

    async def next_piece(self, stream: int) -> bytes | None:
        """The next rows of a stream as a complete Arrow stream; None at the end. There is at least one piece."""
        ...

    async def close_stream(self, stream: int) -> None:
        """Read no more of a stream; harmless twice."""
        ...

    # --- written piece by piece ------------------------------------------------------------------------

    async def open_upload(self, start: UploadStart) -> int:
        """Begin an upload of rows; its number. Nothing is stored before `finish_upload`."""
        ...

    async def upload(self, upload: int, data: bytes) -> None:
        """Take rows as an Arrow stream."""
        ...

    async def upload_rows(self, upload: int, rows: bytes) -> None:
        """Take rows as a JSON array of typed rows."""
        ...

    async def finish_upload(self, upload: int) -> None:
        """Store what was uploaded, all or nothing."""
        ...

    async def discard_upload(self, upload: int) -> None:
        """Forget what was uploaded; harmless after `finish_upload`."""
        ...

    # --- SQL -------------------------------------------------------------------------------------------

    async def parse_sql(self, text: str, parameters: bytes) -> ParsedSql:
        """What a text is; `parameters` are an Arrow table of one row, or empty."""
        ...

    async def open_query(self, owner: str, text: str, parameters: bytes, tables: dict[str, str]) -> OpenedQuery:
        """Run a query to its first rows.

        Args:
            owner: Whose it is; the query is closed with `owner_left`.
            tables: The tables of the room that the names in the text stand for; no other is read.
        """
        ...

    async def run_statement(self, owner: str, text: str, parameters: bytes, tables: dict[str, str]) -> int:
        """Run an insert, update or delete; how many rows it changed. Arguments as of `open_query`."""
        ...

    async def close_query(self, owner: str, query_id: str) -> bool:
        """Close a query of that participant; whether it was open."""
        ...

    def owner_left(self, owner: str) -> None:
        """A participant is gone, and so are its queries."""
        ...

    async def close(self) -> None:
        """Finish the writes that were taken in; they are durable when this returns. Nothing can be called any more."""
        ...


class TableStore(Protocol):
    """The tables of all rooms of a server.

    Attributes:
        limits: Bounds of each room.
    """

    limits: DatabaseLimits

    def room(self, project_id: str, storage_name: str) -> RoomTableStore:
        """The tables of a room, for one run of it. Nothing is loaded or made before the first call that needs it."""
        ...

    async def delete_room(self, project_id: str, storage_name: str) -> None:
        """Remove all tables of a room that does not run, in one step that lasts; harmless if it has none.

        Raises:
            StoreFailedError: The disk refused.
        """
        ...

    def stopping(self, grace: float) -> None:
        """The server is about to stop: what engines work on after `grace` seconds is cut off."""
        ...

    def figures(self) -> EngineFigures:
        """What the engines do now, and did so far."""
        ...
