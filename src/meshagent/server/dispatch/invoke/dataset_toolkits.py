"""The toolkits `dataset` and `database`: the tables of a room, in Arrow and in JSON (protocol 12).

`dataset` is what clients from 0.38 on call; `database` renames to the operations of the flat dialect one to one.
What this server lacks of `dataset` (watching tables, versions, branches, statistics) is not among the tools, and
a call gets an error that says so.
"""

from __future__ import annotations

from meshagent.api.contracts import database as database_api
from meshagent.api.contracts import dataset as api
from meshagent.server.dispatch.invoke.dataset_streams import (
    CreateHandler,
    InsertHandler,
    MergeHandler,
    QueryHandler,
    SearchHandler,
)
from meshagent.server.dispatch.invoke.room_tools import OperationTool, RoomToolkit, task_tool
from meshagent.server.dispatch.invoke.stream_tasks import Spawn
from meshagent.server.services.dataset.service import DatasetService
from meshagent.server.services.sql.service import SqlService


def dataset_toolkit(dataset: DatasetService, sql: SqlService, spawn: Spawn) -> RoomToolkit:
    """The tools of `dataset`."""
    return {
        "list_tables": OperationTool(api.LIST_TABLES),
        "inspect": OperationTool(api.INSPECT),
        "create_table": task_tool(CreateHandler(dataset), "dataset", spawn),
        "insert": task_tool(InsertHandler(dataset), "dataset", spawn),
        "merge": task_tool(MergeHandler(dataset), "dataset", spawn),
        "drop_table": OperationTool(api.DROP_TABLE),
        "rename_table": OperationTool(api.RENAME_TABLE),
        "add_columns": OperationTool(api.ADD_COLUMNS, takes_binary=True),
        "drop_columns": OperationTool(api.DROP_COLUMNS),
        "update": OperationTool(api.UPDATE),
        "delete": OperationTool(api.DELETE),
        "search": task_tool(SearchHandler(dataset), "dataset", spawn),
        "count": OperationTool(api.COUNT),
        "open_sql_query": OperationTool(api.OPEN_SQL_QUERY, takes_binary=True),
        "execute_sql": OperationTool(api.EXECUTE_SQL, takes_binary=True),
        "execute_sql_statement": OperationTool(api.EXECUTE_SQL_STATEMENT, takes_binary=True),
        "read_sql_query": task_tool(QueryHandler(sql), "dataset", spawn),
        "close_sql_query": OperationTool(api.CLOSE_SQL_QUERY),
        "cancel_sql_query": OperationTool(api.CANCEL_SQL_QUERY),
        "create_index": OperationTool(api.CREATE_INDEX),
        "drop_index": OperationTool(api.DROP_INDEX),
        "list_indexes": OperationTool(api.LIST_INDEXES),
        "optimize": OperationTool(api.OPTIMIZE),
    }


def database_toolkit() -> RoomToolkit:
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
    return {operation.name.partition(".")[2]: OperationTool(operation) for operation in operations}
