"""What UPDATE stores is what SELECT shows for the same expression, or it is refused and nothing is stored."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshagent.api.contracts import database as tables_api
from meshagent.api.contracts import dataset as api
from meshagent.api.errors import InvalidRequestError
from meshagent.server.stores.tables.arrow_data import ipc_stream, read_stream
from tests.server.services.test_sql_changes import SqlRoom, sql_room
from tests.support.database import CALLER
from tests.support.hypothesis_profiles import examples


async def in_order(room: SqlRoom, expression: str) -> list[Any]:
    """The values of an expression for all rows, by id."""
    request = api.SqlRequest(query=f"SELECT {expression} FROM t ORDER BY id")
    answer = await room.service.open_sql_query(CALLER, request, b"")
    values: list[Any] = []
    async for piece in room.service.read(CALLER, str(answer.headers["query_id"])):
        for batch in read_stream(piece)[1]:
            values += batch.column(0).to_pylist()
    return values


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[SqlRoom]:
    async with sql_room(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize(
    ("column", "expression"),
    [
        ("mark", "n + 1"),
        ("mark", "-n"),
        ("mark", "abs(n) % 4"),
        ("mark", "coalesce(n, id)"),
        ("mark", "2.0"),
        ("r", "r * 2 + n"),
        ("r", "round(r)"),
        ("r", "n"),
        ("s", "s || 'x'"),
        ("s", "upper(s)"),
        ("s", "'plain'"),
        ("moment", "'2025-01-31T12:00:00'"),
    ],
)
async def test_an_update_stores_what_select_shows(room: SqlRoom, column: str, expression: str) -> None:
    shown = await in_order(room, f"CAST({expression} AS TIMESTAMP)" if column == "moment" else expression)
    assert await room.change(f"UPDATE t SET {column} = {expression}") == 5
    assert await in_order(room, column) == shown


@pytest.mark.parametrize(
    ("column", "expression"),
    [
        ("mark", "1.5"),
        ("mark", "r"),
        ("mark", "n * 4611686018427387904"),
        ("mark", "9223372036854775807 + id"),
        ("mark", "n / 2"),
        ("mark", "s"),
        ("mark", "max(n)"),
    ],
)
async def test_what_would_be_stored_differently_is_refused_with_the_column(
    room: SqlRoom, column: str, expression: str
) -> None:
    before = await in_order(room, column)
    with pytest.raises(InvalidRequestError) as caught:
        await room.change(f"UPDATE t SET {column} = {expression} WHERE id <> 3")
    assert repr(column) in str(caught.value) or "integers" in str(caught.value)
    assert await in_order(room, column) == before


async def test_parameters_are_compared_too(room: SqlRoom) -> None:
    def stream(value: object) -> bytes:
        batch = pa.RecordBatch.from_pylist([{"value": value}])
        return ipc_stream(batch.schema, batch)

    assert await room.change("UPDATE t SET mark = n + $value WHERE id = 1", stream(3)) == 1
    assert (await in_order(room, "mark"))[0] == 10
    with pytest.raises(InvalidRequestError, match="'mark'"):
        await room.change("UPDATE t SET mark = ?", stream(1.5))


async def test_integers_wrap_around_outside_of_sql_as_documented(room: SqlRoom) -> None:
    expressions = {"mark": "n * 4611686018427387904"}
    await room.database.ask(tables_api.UPDATE, table="t", where="id = 1", values_sql=expressions)
    assert (await in_order(room, "mark"))[0] == (7 * 2**62 + 2**63) % 2**64 - 2**63
    with pytest.raises(InvalidRequestError, match="'mark'"):
        await room.change("UPDATE t SET mark = n * 4611686018427387904 WHERE id = 1")


async def test_a_json_column_is_read_by_sql(room: SqlRoom) -> None:
    text = '{"a": {"b": [1, 2]}, "name": "x"}'
    await room.database.ask(tables_api.CREATE_TABLE, name="j", data=[{"id": 1, "doc": text}, {"id": 2, "doc": "{}"}])
    assert await room.select("SELECT id FROM j WHERE doc ->> 'name' = 'x'") == [1]
    assert await room.select("SELECT CAST(doc -> '$.a.b[1]' AS INT) FROM j WHERE id = 1") == [2]
    assert await room.change("DELETE FROM j WHERE doc ->> 'name' IS NULL") == 1


async def test_names_of_columns_are_found_in_any_case_by_queries_filters_and_changes(room: SqlRoom) -> None:
    await room.database.ask(tables_api.CREATE_TABLE, name="c", data=[{"Id": 1, "N": 5}])
    assert await room.select("SELECT n FROM c WHERE iD = 1") == [5]
    assert await room.change("UPDATE c SET N = n + 1 WHERE id = 1") == 1
    assert [row["N"] for row in await room.database.rows("c", where="n = 6")] == [6]


# --- a comparison of engines ---------------------------------------------------------------------------

LEAVES = st.sampled_from(
    ["n", "id", "r", "mark", "0", "1", "7", "-3", "2.5", "1e3", "NULL", "4611686018427387904", "true", "s", "'a'"]
)


def _calls(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "/", "%", "||", "=", "<", ">="]), inner),
        st.builds("{}({})".format, st.sampled_from(["abs", "round", "coalesce", "upper", "length", "sqrt"]), inner),
        st.builds("coalesce({}, {})".format, inner, inner),
        st.builds("CAST({} AS {})".format, inner, st.sampled_from(["DOUBLE", "BIGINT", "INT", "STRING"])),
        st.builds("({} LIKE '{}')".format, inner, st.sampled_from(["a%", "a\\b", "%"])),
    )


EXPRESSIONS = st.recursive(LEAVES, _calls, max_leaves=4)


@pytest.fixture(scope="module")
def shared_room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[asyncio.Runner, SqlRoom]]:
    with asyncio.Runner() as runner:
        context = sql_room(tmp_path_factory.mktemp("tables"))
        opened = runner.run(context.__aenter__())
        yield runner, opened
        runner.run(context.__aexit__(None, None, None))


def _same(stored: Any, shown: Any) -> bool:
    """Whether a column holds what SELECT showed, which may have another type: the nearest float, digits of a text."""
    if stored is None or shown is None:
        return stored is shown
    if isinstance(stored, str) and stored.lower() == str(shown).lower():
        return True
    if isinstance(stored, int) and isinstance(shown, int | Decimal):
        return stored == shown
    try:
        left, right = float(stored), float(shown)
    except ValueError:
        return False
    return left == right or (math.isnan(left) and math.isnan(right))


@settings(max_examples=examples(60))
@given(column=st.sampled_from(["mark", "r", "s"]), expression=EXPRESSIONS)
def test_select_and_update_never_differ(
    shared_room: tuple[asyncio.Runner, SqlRoom], column: str, expression: str
) -> None:
    runner, room = shared_room

    async def check() -> None:
        before = await in_order(room, column)
        try:
            await room.change(f"UPDATE t SET {column} = {expression}")
        except InvalidRequestError:
            assert await in_order(room, column) == before
            return
        stored = await in_order(room, column)
        # The expression may read the column: compute it from the values that it saw.
        for row, value in enumerate(before):
            await _restore(room, column, row + 1, value)
        shown = await in_order(room, expression)
        assert all(map(_same, stored, shown)), (stored, shown)

    runner.run(check())


async def _restore(room: SqlRoom, column: str, row: int, value: object) -> None:
    await room.database.ask(tables_api.UPDATE, table="t", where=f"id = {row}", values={column: value})
