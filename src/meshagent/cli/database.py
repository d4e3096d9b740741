"""`meshagent database`: create, fill and query the tables of a room."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from meshagent.cli.command import command
from meshagent.cli.context import RoomTarget, room_session
from meshagent.cli.output import JsonOption, UsageError, note, print_rows
from meshagent.cli.values import parse_json, parse_object, parse_pairs

app = typer.Typer(help="Manage and query the tables of a room.", no_args_is_help=True)

TableArgument = Annotated[str, typer.Argument(metavar="TABLE", help="Name of the table.")]
Where = Annotated[str | None, typer.Option(help="SQL condition, such as \"age > 3 AND name = 'Ann'\".")]
Columns = Annotated[list[str] | None, typer.Option("--select", "-s", help="Column to return; repeatable.")]

PLAIN_TYPES = ("int", "float", "text", "date", "timestamp")
BATCH_ROWS = 1000


@command(app, "tables", "list-tables", "list", "ls")
async def tables(target: RoomTarget, as_json: JsonOption = False) -> None:
    """List tables."""
    async with room_session(target) as room:
        names = await room.database.list_tables()
    print_rows([{"name": name} for name in names], ("name",), as_json=as_json, empty="this room has no tables")


@command(app, "create")
async def create(
    target: RoomTarget,
    table: TableArgument,
    columns: Annotated[
        list[str], typer.Argument(metavar="COLUMN=TYPE...", help="int, float, text, date, timestamp, or vector[SIZE].")
    ],
    mode: Annotated[
        Literal["create", "overwrite", "create_if_not_exists"], typer.Option(help="What to do if the table exists.")
    ] = "create",
) -> None:
    """Create an empty table."""
    schema = {name: _data_type(kind) for name, kind in parse_pairs(columns, "column").items()}
    async with room_session(target) as room:
        await room.database.create_table_with_schema(name=table, schema=schema, mode=mode)


def _data_type(text: str) -> Any:
    from meshagent.api.contracts.data_types import DataType, FloatDataType, VectorDataType

    if text in PLAIN_TYPES:
        return DataType.from_json({"type": text})
    size = text.removeprefix("vector[").removesuffix("]")
    if text == f"vector[{size}]" and size.isdecimal():
        return VectorDataType(size=int(size), element_type=FloatDataType())
    raise UsageError(f"unknown column type {text!r}: use {', '.join(PLAIN_TYPES)} or vector[SIZE]")


@command(app, "insert")
async def insert(
    target: RoomTarget,
    table: TableArgument,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV, JSON, JSON lines or Parquet; - is standard input.")
    ],
    file_format: Annotated[
        Literal["csv", "json", "jsonl", "parquet"] | None,
        typer.Option("--format", help="Default: by extension."),
    ] = None,
    create_table: Annotated[
        bool, typer.Option("--create", help="Create the table from the rows if it does not exist.")
    ] = False,
    merge_on: Annotated[
        str | None, typer.Option("--merge-on", help="Replace rows that have the same value in this column.")
    ] = None,
) -> None:
    """Insert rows from a file. Empty CSV cells become null."""
    from meshagent.cli.rows import read_rows

    rows = read_rows(file, file_format)
    count = 0
    async with room_session(target) as room:
        missing = create_table and table not in await room.database.list_tables()
        for batch in _batches(rows):
            if missing:
                await room.database.create_table_from_data(name=table, data=batch)
                missing = False
            elif merge_on is not None:
                await room.database.merge(table=table, on=merge_on, records=batch)
            else:
                await room.database.insert(table=table, records=batch)
            count += len(batch)
    note(f"inserted {count} row{'' if count == 1 else 's'}")


def _batches(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    return [rows[start : start + BATCH_ROWS] for start in range(0, len(rows), BATCH_ROWS)]


@command(app, "search", "query")
async def search(
    target: RoomTarget,
    table: TableArgument,
    where: Where = None,
    text: Annotated[str | None, typer.Option(help="Words to search for. Requires a text index.")] = None,
    vector: Annotated[str | None, typer.Option(help="JSON list of numbers: find the nearest rows.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=0, help="Maximum number of rows.")] = None,
    select: Columns = None,
    as_json: JsonOption = False,
) -> None:
    """Print rows by condition, text search or vector search."""
    near = None if vector is None else parse_json(vector, "vector")
    async with room_session(target) as room:
        rows = await room.database.search(
            table=table, where=where, text=text, vector=near, limit=limit, select=select or None
        )
    columns = list(dict.fromkeys(column for row in rows for column in row))
    print_rows(rows, columns, as_json=as_json, empty="no rows")


@command(app, "update")
async def update(
    target: RoomTarget,
    table: TableArgument,
    where: Annotated[str, typer.Option(help="SQL condition; `true` is every row.")],
    values: Annotated[str | None, typer.Option(help='New values: a JSON object, such as {"age": 4}.')] = None,
    sql: Annotated[
        list[str] | None, typer.Option("--sql", help="COLUMN=EXPRESSION, such as age=age+1; repeatable.")
    ] = None,
) -> None:
    """Update rows."""
    if values is None and not sql:
        raise UsageError("use --values or --sql")
    changes = None if values is None else parse_object(values, "values")
    expressions = parse_pairs(sql, "expression") if sql else None
    async with room_session(target) as room:
        await room.database.update(table=table, where=where, values=changes, values_sql=expressions)


@command(app, "delete")
async def delete(
    target: RoomTarget,
    table: TableArgument,
    where: Annotated[str, typer.Option(help="SQL condition; `true` is every row.")],
) -> None:
    """Delete rows."""
    async with room_session(target) as room:
        await room.database.delete(table=table, where=where)


@command(app, "drop")
async def drop(
    target: RoomTarget,
    table: TableArgument,
    force: Annotated[bool, typer.Option("--force", "-f", help="Succeed if the table does not exist.")] = False,
) -> None:
    """Delete a table with its rows."""
    async with room_session(target) as room:
        await room.database.drop_table(name=table, ignore_missing=force)


@command(app, "index")
async def index(
    target: RoomTarget,
    table: TableArgument,
    column: Annotated[str, typer.Argument(metavar="COLUMN", help="Name of the column.")],
    kind: Annotated[Literal["text", "scalar", "vector"], typer.Option(help="Type of the index.")] = "text",
) -> None:
    """Create an index on a column. Text search requires a text index; the others make searches faster."""
    async with room_session(target) as room:
        make = {
            "text": room.database.create_full_text_search_index,
            "scalar": room.database.create_scalar_index,
            "vector": room.database.create_vector_index,
        }[kind]
        await make(table=table, column=column)


@command(app, "indexes")
async def indexes(target: RoomTarget, table: TableArgument, as_json: JsonOption = False) -> None:
    """List the indexes of a table."""
    async with room_session(target) as room:
        found = await room.database.list_indexes(table=table)
    print_rows([dict(item) for item in found], ("name", "type", "columns"), as_json=as_json, empty="no indexes")


@command(app, "optimize")
async def optimize(target: RoomTarget, table: TableArgument) -> None:
    """Compact a table and update its indexes."""
    async with room_session(target) as room:
        await room.database.optimize(table)
