"""`DatasetService`: the `dataset.*` operations of one room (protocol 12)."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from meshagent.api import jsontext
from meshagent.api.contracts import dataset as api
from meshagent.api.contracts.content import BinaryBody
from meshagent.api.contracts.database import ListTablesResult
from meshagent.api.contracts.operation import EMPTY, Empty
from meshagent.api.errors import InvalidRequestError, UnavailableError
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.kernel.operations import ServedOperation, serve, serve_payload
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.database import check_name
from meshagent.server.stores.tables.errors import no_such_table
from meshagent.server.stores.tables.table_store import RoomTableStore, TableSearch, UploadStart

__all__ = ["ARROW_STREAM", "DatasetService", "TableUpload", "check_columns", "check_dataset_ref", "read_pieces"]

ARROW_STREAM = "application/vnd.apache.arrow.stream"


class DatasetService:
    """The tables of one room for clients that speak Arrow: the same tables as `DatabaseService`'s, and its errors.

    A room's tables are in no namespace, on one branch called `main`, at one version, which is the newest: requests
    that name others raise `UnavailableError`.
    """

    def __init__(self, tables: RoomTableStore) -> None:
        self.tables = tables
        self.max_open_reads = tables.limits.max_open_reads

    def operations(self) -> list[ServedOperation]:
        return [
            serve(api.LIST_TABLES, self.list_tables, grant=lambda scope, _: scope.require_table_list()),
            serve(api.INSPECT, self.inspect, grant=_read),
            serve(api.DROP_TABLE, self.drop_table, grant=lambda scope, r: scope.require_table(r.name, "alter")),
            serve(api.RENAME_TABLE, self.rename_table, grant=_rename),
            serve_payload(api.ADD_COLUMNS, self.add_columns, grant=_alter),
            serve(api.DROP_COLUMNS, self.drop_columns, grant=_alter),
            serve(api.UPDATE, self.update, grant=_write),
            serve(api.DELETE, self.delete, grant=_write),
            serve(api.COUNT, self.count, grant=_read),
            serve(api.CREATE_INDEX, self.create_index, grant=_alter),
            serve(api.DROP_INDEX, self.drop_index, grant=_alter),
            serve(api.LIST_INDEXES, self.list_indexes, grant=_read),
            serve(api.OPTIMIZE, self.optimize, grant=_write),
        ]

    def left(self, participant: Participant) -> None:
        """A participant holds nothing here."""

    async def close(self) -> None:
        """Nothing to finish: the tables are the `DatabaseService`'s."""

    # --- tables and columns ----------------------------------------------------------------------------

    async def list_tables(self, caller: Participant, request: api.DatasetRef) -> ListTablesResult:
        """The names of the room's tables."""
        check_dataset_ref(request)
        return ListTablesResult(tables=await self.tables.table_names())

    async def inspect(self, caller: Participant, request: api.TableRef) -> BinaryBody:
        """The columns of a table, as an Arrow stream without rows."""
        self._check(request)
        schema = await self.tables.schema(request.table)
        return BinaryBody(headers={"kind": "schema", "content_type": ARROW_STREAM}, data=schema)

    async def drop_table(self, caller: Participant, request: api.DropTableRequest) -> Empty:
        """Remove a table with its rows."""
        check_dataset_ref(request)
        check_name(request.name)
        if not await self.tables.drop_table(request.name) and not request.ignore_missing:
            raise no_such_table(request.name)
        return EMPTY

    async def rename_table(self, caller: Participant, request: api.RenameTableRequest) -> Empty:
        """Give a table another name, which must be free; searches that read it at that time may fail."""
        check_name(request.new_name)
        check_dataset_ref(request)
        check_name(request.name)
        await self.tables.rename_table(request.name, request.new_name)
        return EMPTY

    async def add_columns(self, caller: Participant, request: api.AddColumnsRequest, data: bytes) -> Empty:
        """Add columns by SQL expressions, or empty ones by an Arrow schema."""
        self._check(request)
        if data:
            await self.tables.add_empty_columns(request.table, data)
        else:
            expressions = {column.name: column.value_sql for column in request.columns}
            await self.tables.add_columns(request.table, expressions, True)
        return EMPTY

    async def drop_columns(self, caller: Participant, request: api.DropColumnsRequest) -> Empty:
        """Remove columns, all or none."""
        self._check(request)
        await self.tables.drop_columns(request.table, request.columns)
        return EMPTY

    # --- rows ------------------------------------------------------------------------------------------

    async def update(self, caller: Participant, request: api.UpdateRequest) -> Empty:
        """Assign typed values and expressions to the rows that a filter selects."""
        self._check(request)
        assignments = [(assignment.column, assignment.value_json) for assignment in request.values]
        await self.tables.update_typed(request.table, request.where, assignments)
        return EMPTY

    async def delete(self, caller: Participant, request: api.DeleteRequest) -> Empty:
        """Delete the rows that a filter selects."""
        self._check(request)
        await self.tables.delete(request.table, request.where, True)
        return EMPTY

    async def count(self, caller: Participant, request: api.SearchRequest) -> api.CountResult:
        """How many rows a search would find, paging aside."""
        self._check(request)
        return api.CountResult(count=await self.tables.count(request.table, _search(request)))

    # --- indexes ---------------------------------------------------------------------------------------

    async def create_index(self, caller: Participant, request: api.CreateIndexRequest) -> Empty:
        """Index a column in one of the engine's ways."""
        self._check(request)
        await self.tables.create_configured_index(request.table, jsontext.dumps(request.config))
        return EMPTY

    async def drop_index(self, caller: Participant, request: api.DropIndexRequest) -> Empty:
        """Remove an index by its name."""
        self._check(request)
        await self.tables.drop_index(request.table, request.name)
        return EMPTY

    async def list_indexes(self, caller: Participant, request: api.TableRef) -> api.ListIndexesResult:
        """The indexes of a table, with what the engine knows of them."""
        self._check(request)
        return api.ListIndexesResult(indexes=await self.tables.describe_indexes(request.table))

    async def optimize(self, caller: Participant, request: api.OptimizeRequest) -> api.OptimizeResult:
        """Put small files together, bring indexes up to date, remove old versions."""
        self._check(request)
        stats = await self.tables.optimize(request.table)
        indexes = await self.tables.describe_indexes(request.table)
        return api.OptimizeResult(
            compaction={"fragments_removed": stats.fragments_removed, "fragments_added": stats.fragments_added},
            optimized_indices=[index.name for index in indexes],
            cleanup={"bytes_removed": stats.bytes_removed, "old_versions": stats.versions_removed},
        )

    # --- piece by piece --------------------------------------------------------------------------------

    async def search(self, request: api.SearchRequest) -> AsyncGenerator[bytes, None]:
        """The rows of a search as Arrow streams, at least one, in pieces of moderate size."""
        self._check(request)
        stream = await self.tables.open_search(request.table, _search(request))
        async for piece in read_pieces(self.tables, stream):
            yield piece

    async def start_create(self, start: api.CreateTableStart, schema: bytes) -> TableUpload:
        """An upload that becomes a new table; `schema` may be empty, then the first rows tell it."""
        check_dataset_ref(start)
        metadata = [(item.key, item.value) for item in start.metadata or ()]
        upload = UploadStart(kind="create", table=start.name, schema=schema, mode=start.mode, metadata=metadata)
        return TableUpload(self.tables, await self.tables.open_upload(upload))

    async def start_insert(self, start: api.TableRef) -> TableUpload:
        """An upload whose rows are added to a table."""
        self._check(start)
        return TableUpload(self.tables, await self.tables.open_upload(UploadStart(kind="insert", table=start.table)))

    async def start_merge(self, start: api.MergeStart) -> TableUpload:
        """An upload whose rows update those with the same values in some columns, or are added."""
        self._check(start)
        upload = UploadStart(kind="merge", table=start.table, on=check_columns(start.on))
        return TableUpload(self.tables, await self.tables.open_upload(upload))

    def _check(self, request: api.TableRef) -> None:
        check_dataset_ref(request)
        check_name(request.table)


class TableUpload:
    """Rows on their way into a table: nothing of them is there before `finish`, then all of them."""

    def __init__(self, tables: RoomTableStore, number: int) -> None:
        self._tables = tables
        self._number = number

    async def write(self, data: bytes) -> None:
        """Take rows as an Arrow stream."""
        await self._tables.upload(self._number, data)

    async def write_rows(self, rows: bytes) -> None:
        """Take rows as a JSON array of typed values."""
        await self._tables.upload_rows(self._number, rows)

    async def finish(self) -> None:
        """Commit what came; once begun it goes on to its end, even if the caller is cancelled."""
        await self._tables.finish_upload(self._number)

    async def discard(self) -> None:
        """Forget what came. Harmless after `finish`."""
        await self._tables.discard_upload(self._number)


async def read_pieces(tables: RoomTableStore, stream: int) -> AsyncGenerator[bytes, None]:
    """The pieces of a stream of rows, which is closed at the end, or when nobody reads on."""
    try:
        while (piece := await tables.next_piece(stream)) is not None:
            yield piece
    finally:
        await tables.close_stream(stream)


def _search(request: api.SearchRequest) -> TableSearch:
    return TableSearch(
        where=request.where,
        text=request.text,
        vector=request.vector,
        limit=request.limit,
        offset=request.offset,
        select=request.select,
        text_columns=request.text_columns,
    )


def check_dataset_ref(place: api.DatasetRef) -> None:
    """Raise UnavailableError unless `place` is where tables of rooms are."""
    if place.namespace:
        raise UnavailableError("namespaces of tables are not supported")
    if place.branch not in (None, "main"):
        raise UnavailableError("unsupported branch: tables have the branch 'main' only")
    if place.version is not None:
        raise UnavailableError("older versions of tables are not supported")


def check_columns(on: str | list[str]) -> list[str]:
    """The columns on which to merge, at least one."""
    columns = [on] if isinstance(on, str) else on
    if not columns:
        raise InvalidRequestError("name at least one column to merge on")
    return columns


def _read(scope: ApiScope, request: api.TableRef) -> None:
    scope.require_table(request.table, "read")


def _write(scope: ApiScope, request: api.TableRef) -> None:
    scope.require_table(request.table, "write")


def _alter(scope: ApiScope, request: api.TableRef) -> None:
    scope.require_table(request.table, "alter")


def _rename(scope: ApiScope, request: api.RenameTableRequest) -> None:
    scope.require_table(request.name, "alter")
    scope.require_table(request.new_name, "alter")
