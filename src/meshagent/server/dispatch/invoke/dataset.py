"""The areas `dataset` and `database`: the tables of a room, in Arrow and in JSON (spec room-protocol-current 2.12).

`dataset` is what clients from 0.38 on call; `database` renames to the operations of the flat dialect one to one.
What this server lacks of `dataset` (watching tables, versions, branches, statistics) is not among the tools, and
calling it is answered in words.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshagent.api.contracts import database as database_api
from meshagent.api.contracts import dataset as api
from meshagent.server.dispatch.invoke.dataset_streams import CreateWork, InsertWork, MergeWork, QueryWork, SearchWork
from meshagent.server.dispatch.invoke.messages import Content
from meshagent.server.dispatch.invoke.tools import AreaTool, UnaryTool, WorkTool
from meshagent.server.services.dataset.service import DatasetService
from meshagent.server.services.sql.service import SqlService


@dataclass(frozen=True, slots=True)
class ArrowTool(UnaryTool):
    """A tool whose input may be binary: headers that say what, and Arrow data."""

    def unary(self, content: Content, payload: bytes) -> tuple[str, bytes, bytes]:
        if content.type == "binary":
            return self.operation.name, bytes(content.headers), payload
        return UnaryTool.unary(self, content, b"")

    def input_types(self) -> list[str]:
        return ["json", "binary"]


def dataset_area(dataset: DatasetService, sql: SqlService) -> dict[str, AreaTool]:
    """The tools of `dataset`."""
    return {
        "list_tables": UnaryTool(api.LIST_TABLES),
        "inspect": UnaryTool(api.INSPECT),
        "create_table": WorkTool(CreateWork(dataset), "dataset"),
        "insert": WorkTool(InsertWork(dataset), "dataset"),
        "merge": WorkTool(MergeWork(dataset), "dataset"),
        "drop_table": UnaryTool(api.DROP_TABLE),
        "rename_table": UnaryTool(api.RENAME_TABLE),
        "add_columns": ArrowTool(api.ADD_COLUMNS),
        "drop_columns": UnaryTool(api.DROP_COLUMNS),
        "update": UnaryTool(api.UPDATE),
        "delete": UnaryTool(api.DELETE),
        "search": WorkTool(SearchWork(dataset), "dataset"),
        "count": UnaryTool(api.COUNT),
        "open_sql_query": ArrowTool(api.OPEN_SQL_QUERY),
        "execute_sql": ArrowTool(api.EXECUTE_SQL),
        "execute_sql_statement": ArrowTool(api.EXECUTE_SQL_STATEMENT),
        "read_sql_query": WorkTool(QueryWork(sql), "dataset"),
        "close_sql_query": UnaryTool(api.CLOSE_SQL_QUERY),
        "cancel_sql_query": UnaryTool(api.CANCEL_SQL_QUERY),
        "create_index": UnaryTool(api.CREATE_INDEX),
        "drop_index": UnaryTool(api.DROP_INDEX),
        "list_indexes": UnaryTool(api.LIST_INDEXES),
        "optimize": UnaryTool(api.OPTIMIZE),
    }


def database_area() -> dict[str, AreaTool]:
    """The tools of `database`, each an operation of that name."""
    operations = (
        database_api.LIST_TABLES,
        database_api.CREATE_TABLE,
        database_api.DROP_TABLE,
        database_api.ADD_COLUMNS,
        database_api.DROP_COLUMNS,
        database_api.INSERT,
        database_api.UPDATE,
        database_api.DELETE,
        database_api.MERGE,
        database_api.SEARCH,
        database_api.OPTIMIZE,
        database_api.CREATE_VECTOR_INDEX,
        database_api.CREATE_SCALAR_INDEX,
        database_api.CREATE_FULL_TEXT_SEARCH_INDEX,
        database_api.LIST_INDEXES,
    )
    return {operation.name.partition(".")[2]: UnaryTool(operation) for operation in operations}
