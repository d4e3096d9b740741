"""Uploads of any type are stored with all their rows, or not acknowledged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from meshagent.api.errors import InternalError, NotFoundError
from meshagent.server.stores.tables.arrow_tables import ArrowTables
from meshagent.server.stores.tables.row_counts import adding_rows
from meshagent.server.stores.tables.search import Search
from meshagent.server.stores.tables.table_engine import TableEngine

TEXTS = ["x", "yy", "zzz"]
ALL = Search(where=None, text=None, vector=None, limit=None, offset=None, select=None)

COLUMNS: dict[str, pa.Array] = {
    "decimal128": pa.array([Decimal("1.5"), None, Decimal("-2.25")], pa.decimal128(10, 2)),
    "decimal256": pa.array([Decimal("1.5"), None, Decimal("-2.25")], pa.decimal256(50, 2)),
    "string view": pa.array(["short", None, "long enough to be kept apart"], pa.string_view()),
    "binary view": pa.array([b"short", None, b"long enough to be kept apart"], pa.binary_view()),
    "decimals in lists": pa.array([[Decimal("1.5")], None, []], pa.list_(pa.decimal128(10, 2))),
    "small integers": pa.array([1, None, -3], pa.int8()),
    "texts": pa.array(["a", None, "c"]),
}


@pytest.fixture
async def tables(tmp_path: Path) -> AsyncIterator[ArrowTables]:
    opened = await TableEngine(tmp_path, durability="process").open(tmp_path / "room")
    yield ArrowTables(opened)
    await opened.close()


async def store(tables: ArrowTables, content: pa.Table, *, create: bool = False, mode: Any = "create") -> None:
    spool = tables.spool(content.schema)
    try:
        spool.add(content.to_batches())
        if create:
            await tables.create("t", spool, mode)
        else:
            await tables.insert("t", spool)
    finally:
        spool.close()


async def count(tables: ArrowTables) -> int:
    return await tables.count("t", ALL)


@pytest.mark.parametrize("column", COLUMNS)
async def test_columns_behind_others_keep_all_their_rows(tables: ArrowTables, column: str) -> None:
    content = pa.table({"name": TEXTS, "value": COLUMNS[column], "last": COLUMNS[column]})
    await store(tables, content, create=True)
    await store(tables, content)
    assert await count(tables) == 6
    async with tables.searching("t", ALL) as found:
        values = [value for batch in [batch async for batch in found] for value in batch.column("value").to_pylist()]
    assert values == COLUMNS[column].to_pylist() * 2


def lose_a_row(monkeypatch: pytest.MonkeyPatch, tables: ArrowTables) -> None:
    """Make the engine lose the first row of new tables."""
    connection = tables.tables._connection
    create_table = connection.create_table

    async def create(name: str, content: pa.RecordBatchReader, **options: Any) -> Any:
        return await create_table(name, content.read_all().slice(1), **options)

    monkeypatch.setattr(connection, "create_table", create)


async def test_a_table_that_lost_rows_is_not_acknowledged(tables: ArrowTables, monkeypatch: pytest.MonkeyPatch) -> None:
    content = pa.table({"name": TEXTS})
    with monkeypatch.context() as patched:
        lose_a_row(patched, tables)
        with pytest.raises(InternalError, match="2 rows instead of 3"):
            await store(tables, content, create=True)
    with pytest.raises(NotFoundError):
        await count(tables)
    await store(tables, content, create=True)
    with monkeypatch.context() as patched:
        lose_a_row(patched, tables)
        with pytest.raises(InternalError, match="2 rows instead of 3"):
            await store(tables, pa.table({"other": [1, 2, 3]}), create=True, mode="overwrite")
    assert await count(tables) == 3
    assert (await tables.schema("t")).names == ["name"]


async def test_rows_that_were_lost_in_an_insert_are_not_acknowledged(tables: ArrowTables) -> None:
    await store(tables, pa.table({"name": TEXTS}), create=True)

    async def lose(table: Any) -> None:
        async with adding_rows(table, 3):
            await table.add(pa.table({"name": TEXTS[1:]}))

    with pytest.raises(InternalError, match="5 rows instead of 6"):
        await tables.tables.change("t", lose)
    assert await count(tables) == 3
    await store(tables, pa.table({"name": TEXTS}))
    assert await count(tables) == 6
