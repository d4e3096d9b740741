"""SQL over tables: what a text is taken for, and the bounds of what runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from meshagent.api.contracts import dataset as api
from meshagent.api.errors import (
    InvalidRequestError,
    LimitExceededError,
    NotFoundError,
    RequestTimeoutError,
    UnavailableError,
)
from meshagent.server.services.sql.queries import decode_parameters
from meshagent.server.services.sql.service import SqlService
from meshagent.server.services.sql.statements import Delete, Insert, Query, Statement, Update, parse
from tests.support.database import CALLER, open_database
from tests.support.dataset_client import ipc

SLOW = "SELECT count(*) FROM range(300000) a(i), range(300000) b(j) WHERE i * j % 7 = 3"
"""Takes a minute or more."""


@pytest.fixture(scope="module")
def cursor() -> Iterator[Any]:
    with duckdb.connect(":memory:") as connection:
        yield connection


def statement(cursor: Any, text: str, **parameters: Any) -> Statement:
    return parse(cursor, text, {name.removeprefix("p"): value for name, value in parameters.items()})


def test_queries_say_which_tables_and_parameters_they_have(cursor: Any) -> None:
    text = 'WITH w AS (SELECT * FROM a) SELECT * FROM w, "B c" WHERE x = $who LIMIT $many'
    assert statement(cursor, text) == Query(text, frozenset({"a", "B c"}), frozenset({"who", "many"}))
    assert statement(cursor, "FROM a WHERE x > ? AND 'it''s ?' = y;") == Query(
        "FROM a WHERE x > ? AND 'it''s ?' = y;", frozenset({"a"}), frozenset({"1"})
    )


def test_changes_are_taken_apart(cursor: Any) -> None:
    update = (
        "UPDATE \"t\" SET a = b || ', ' || $who, c = greatest(?, 2) /* , d = 1 */ WHERE x = 'a, b' AND y IN (1, 2) ;"
    )
    with pytest.raises(duckdb.NotImplementedException):  # named and positional parameters in one text
        statement(cursor, update, pwho="it's", p1=3)
    selected = Query("SELECT _rowid FROM \"t\" WHERE (x = 'a, b' AND y IN (1, 2))", frozenset({"t"}), frozenset())
    values = {
        column: Query(
            f"SELECT _rowid, ({given}) FROM \"t\" WHERE (x = 'a, b' AND y IN (1, 2))", frozenset({"t"}), names
        )
        for column, given, names in (
            ("a", "b || ', ' || $who", frozenset({"who"})),
            ("c", "greatest($n, 2)", frozenset({"n"})),
        )
    }
    assert statement(cursor, update.replace("?", "$n"), pwho="it's", pn=3) == Update(
        "t", {"a": "b || ', ' || 'it''s'", "c": "greatest(3, 2)"}, selected, values
    )
    assert statement(cursor, "DELETE FROM t") == Delete("t", None)
    selected = Query('SELECT _rowid FROM "t" WHERE (x = $1 or y = $2)', frozenset({"t"}), frozenset({"1", "2"}))
    assert statement(cursor, "delete from t where x = ? or y = ?", p1="a", p2=None) == Delete("t", selected)
    update = "update t set a = ? where x = ? and y in (select y from s)"
    selected = Query(
        'SELECT _rowid FROM "t" WHERE (x = $2 and y in (select y from s))', frozenset({"t", "s"}), frozenset({"2"})
    )
    condition = "(x = $2 and y in (select y from s))"
    value = Query(f'SELECT _rowid, ($1) FROM "t" WHERE {condition}', frozenset({"t", "s"}), frozenset({"1", "2"}))
    assert statement(cursor, update, p1=5, p2=6) == Update("t", {"a": "5"}, selected, {"a": value})
    assert statement(cursor, 'INSERT INTO t (a, "b") VALUES (1, $b)') == Insert(
        "t", ["a", "b"], Query("VALUES (1, $b)", frozenset(), frozenset({"b"}))
    )
    assert statement(cursor, "INSERT INTO t (SELECT * FROM s)") == Insert(
        "t", [], Query("(SELECT * FROM s)", frozenset({"s"}), frozenset())
    )


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE t SET a = 1 FROM s WHERE s.a = t.a",
        "UPDATE t SET a = 1 RETURNING a",
        "DELETE FROM t USING s WHERE true",
        "DELETE FROM t WHERE true RETURNING a",
        "WITH w AS (SELECT 1) INSERT INTO t SELECT * FROM w",
        "INSERT OR REPLACE INTO t VALUES (1)",
        "INSERT INTO t DEFAULT VALUES",
        "CREATE TABLE t (a INT)",
        "PRAGMA database_list",
        "EXPLAIN SELECT 1",
    ],
)
def test_other_changes_are_refused(cursor: Any, text: str) -> None:
    with pytest.raises(UnavailableError):
        statement(cursor, text)


@pytest.mark.parametrize(
    "text",
    [
        "DELETE FROM s.t",
        "DELETE FROM t WHERE COLUMNS(*) > 1",
        "UPDATE t SET a = 1, a = 2",
        "DELETE FROM t WHERE a = $a",
        "",
        "-- x",
    ],
)
def test_wrong_changes_are_refused(cursor: Any, text: str) -> None:
    with pytest.raises(InvalidRequestError):
        statement(cursor, text)


@asynccontextmanager
async def sql(folder: Path, **limits: Any) -> AsyncIterator[SqlService]:
    async with open_database(folder, **limits) as database:
        service = SqlService(database.tables)
        try:
            yield service
        finally:
            await service.close()


async def opened(service: SqlService, text: str) -> str:
    """The id of an open query."""
    answer = await service.open_sql_query(CALLER, api.SqlRequest(query=text), b"")
    return str(answer.headers["query_id"])


async def test_a_query_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    async with sql(tmp_path, sql_timeout=0.2) as service:
        with pytest.raises(RequestTimeoutError):
            await opened(service, SLOW)
        assert await opened(service, "SELECT 1")


async def test_a_query_that_wants_too_much_memory_is_stopped(tmp_path: Path) -> None:
    async with sql(tmp_path, sql_memory_bytes=32 * 1024 * 1024) as service:
        with pytest.raises(LimitExceededError):
            await opened(service, "SELECT list(i) FROM range(10000000) a(i)")
        assert await opened(service, "SELECT 1")


async def test_a_query_that_nobody_waits_for_is_stopped(tmp_path: Path) -> None:
    async with sql(tmp_path) as service:
        await opened(service, "SELECT 1")
        waiting = asyncio.create_task(opened(service, SLOW))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(20):
                await waiting


async def test_a_query_that_nobody_reads_is_closed(tmp_path: Path) -> None:
    async with sql(tmp_path, sql_idle_timeout=0.0) as service:
        query_id = await opened(service, "SELECT 1")
        await asyncio.sleep(0.01)
        with pytest.raises(NotFoundError):
            async for _ in service.read(CALLER, query_id):
                pass
        cancelled = await service.cancel_sql_query(CALLER, api.QueryRequest(query_id=query_id))
        assert cancelled.status == "not_cancellable"


async def test_a_query_can_be_cancelled_and_ends_with_its_owner(tmp_path: Path) -> None:
    async with sql(tmp_path) as service:
        query_id = await opened(service, "SELECT * FROM range(1000000)")
        cancelled = await service.cancel_sql_query(CALLER, api.QueryRequest(query_id=query_id))
        assert cancelled.status == "cancelled"
        query_id = await opened(service, "SELECT * FROM range(1000000)")
        service.left(CALLER)
        with pytest.raises(NotFoundError):
            async for _ in service.read(CALLER, query_id):
                pass


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(pa.array([2**62], pa.timestamp("us")), id="a date after 9999"),
        pytest.param(pa.array([b"\xff"]).view(pa.string()), id="text that is not UTF-8"),
        pytest.param(pa.array([1, 2]), id="two rows"),
    ],
)
def test_parameters_that_python_cannot_have_are_refused(column: Any) -> None:
    with pytest.raises(InvalidRequestError):
        decode_parameters(ipc(pa.table({"p": column})))
