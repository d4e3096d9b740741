"""`DatasetService`: the `dataset.*` operations of one room (protocol 12)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from meshagent.api import jsontext
from meshagent.api.contracts import dataset as api
from meshagent.api.contracts.content import BinaryBody
from meshagent.api.contracts.database import ListTablesResult
from meshagent.api.contracts.operation import EMPTY, Empty
from meshagent.api.errors import InvalidRequestError, UnavailableError
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.kernel.operations import ServedOperation, serve, serve_payload
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.database import DatabaseService, check_name
from meshagent.server.stores.tables.errors import no_such_table

if TYPE_CHECKING:
    from meshagent.server.stores.tables.arrow_tables import ArrowTables

__all__ = ["ARROW_STREAM", "DatasetService", "check_columns", "check_dataset_ref"]

ARROW_STREAM = "application/vnd.apache.arrow.stream"


class DatasetService:
    """The tables of one room for clients that speak Arrow: the same tables as `DatabaseService`'s, and its errors.

    A room's tables are in no namespace, on one branch called `main`, at one version, which is the newest: requests
    that name others raise `UnavailableError`.
    """

    def __init__(self, database: DatabaseService) -> None:
        self._database = database

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
        return await self._database.list_tables(caller, EMPTY)

    async def inspect(self, caller: Participant, request: api.TableRef) -> BinaryBody:
        """The columns of a table, as an Arrow stream without rows."""
        tables = await self.tables_with(request, request.table)

        from meshagent.server.stores.tables.arrow_data import ipc_stream

        schema = await tables.schema(request.table)
        return BinaryBody(headers={"kind": "schema", "content_type": ARROW_STREAM}, data=ipc_stream(schema))

    async def drop_table(self, caller: Participant, request: api.DropTableRequest) -> Empty:
        """Remove a table with its rows."""
        check_dataset_ref(request)
        check_name(request.name)
        tables = await self._database.opened(make=False)
        existed = tables is not None and await tables.drop(request.name)
        if not existed and not request.ignore_missing:
            raise no_such_table(request.name)
        return EMPTY

    async def rename_table(self, caller: Participant, request: api.RenameTableRequest) -> Empty:
        """Give a table another name, which must be free; searches that read it at that time may fail."""
        check_name(request.new_name)
        tables = await self.tables_with(request, request.name)
        await tables.tables.rename(request.name, request.new_name)
        return EMPTY

    async def add_columns(self, caller: Participant, request: api.AddColumnsRequest, data: bytes) -> Empty:
        """Add columns by SQL expressions, or empty ones by an Arrow schema."""
        tables = await self.tables_with(request, request.table)

        from meshagent.server.stores.tables.arrow_data import read_schema

        if data:
            await tables.add_fields(request.table, read_schema(data))
        else:
            expressions = {column.name: column.value_sql for column in request.columns}
            await tables.tables.add_columns(request.table, expressions, quoted_names=True)
        return EMPTY

    async def drop_columns(self, caller: Participant, request: api.DropColumnsRequest) -> Empty:
        """Remove columns, all or none."""
        tables = await self.tables_with(request, request.table)
        await tables.tables.drop_columns(request.table, request.columns)
        return EMPTY

    # --- rows ------------------------------------------------------------------------------------------

    async def update(self, caller: Participant, request: api.UpdateRequest) -> Empty:
        """Assign typed values and expressions to the rows that a filter selects."""
        tables = await self.tables_with(request, request.table)

        from meshagent.server.services.dataset.typed_values import Expression, decode_value, to_json_value

        values, expressions = {}, {}
        for assignment in request.values:
            value = decode_value(jsontext.loads(assignment.value_json))
            if isinstance(value, Expression):
                expressions[assignment.column] = value.sql
            else:
                values[assignment.column] = to_json_value(value)
        await tables.tables.update(
            request.table, request.where, values=values, expressions=expressions, quoted_names=True
        )
        return EMPTY

    async def delete(self, caller: Participant, request: api.DeleteRequest) -> Empty:
        """Delete the rows that a filter selects."""
        tables = await self.tables_with(request, request.table)
        await tables.tables.delete(request.table, request.where, quoted_names=True)
        return EMPTY

    async def count(self, caller: Participant, request: api.SearchRequest) -> api.CountResult:
        """How many rows a search would find, paging aside."""
        tables = await self.tables_with(request, request.table)

        from meshagent.server.services.dataset.streams import search_from_request

        return api.CountResult(count=await tables.count(request.table, search_from_request(request)))

    # --- indexes ---------------------------------------------------------------------------------------

    async def create_index(self, caller: Participant, request: api.CreateIndexRequest) -> Empty:
        """Index a column in one of the engine's ways."""
        tables = await self.tables_with(request, request.table)

        from meshagent.server.stores.tables.index_configs import index_by_config

        await tables.tables.change(request.table, index_by_config(request.config))
        return EMPTY

    async def drop_index(self, caller: Participant, request: api.DropIndexRequest) -> Empty:
        """Remove an index by its name."""
        tables = await self.tables_with(request, request.table)
        await tables.drop_index(request.table, request.name)
        return EMPTY

    async def list_indexes(self, caller: Participant, request: api.TableRef) -> api.ListIndexesResult:
        """The indexes of a table, with what the engine knows of them."""
        tables = await self.tables_with(request, request.table)
        return api.ListIndexesResult(indexes=await tables.list_indexes(request.table))

    async def optimize(self, caller: Participant, request: api.OptimizeRequest) -> api.OptimizeResult:
        """Put small files together, bring indexes up to date, remove old versions."""
        tables = await self.tables_with(request, request.table)
        stats = await tables.tables.optimize(request.table)
        indexes = await tables.list_indexes(request.table)
        return api.OptimizeResult(
            compaction={"fragments_removed": stats.fragments_removed, "fragments_added": stats.fragments_added},
            optimized_indices=[index.name for index in indexes],
            cleanup={"bytes_removed": stats.bytes_removed, "old_versions": stats.versions_removed},
        )

    # --- opening ---------------------------------------------------------------------------------------

    async def tables_with(self, place: api.DatasetRef, table: str) -> ArrowTables:
        """The tables of the room, for an operation on one of them.

        Raises:
            NotFoundError: The room never had a table.
            UnavailableError: `place` is not where tables of rooms are.
        """
        check_dataset_ref(place)
        tables = await self._database.tables_with(table)
        return (await _arrow_tables())(tables)

    async def tables(self, place: api.DatasetRef) -> ArrowTables:
        """The tables of the room, made if need be."""
        check_dataset_ref(place)
        tables = await self._database.opened(make=True)
        assert tables is not None
        return (await _arrow_tables())(tables)


async def _arrow_tables() -> type[ArrowTables]:
    """Imported in a thread: the engine itself is loaded by now, but Arrow's parts take their time too."""

    def load() -> type[ArrowTables]:
        from meshagent.server.stores.tables.arrow_tables import ArrowTables

        return ArrowTables

    return await asyncio.to_thread(load)


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
