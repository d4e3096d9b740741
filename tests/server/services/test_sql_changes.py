"""One condition means one set of rows: for a preview by SELECT, for UPDATE and DELETE, and for filters."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from meshagent.api.contracts import database as tables_api
from meshagent.api.contracts import dataset as api
from meshagent.api.errors import InvalidRequestError, LimitExceededError, NotFoundError
from meshagent.server.services.sql import changes
from meshagent.server.services.sql.changes import filter_of_ids
from meshagent.server.services.sql.service import SqlService
from meshagent.server.stores.tables.arrow_data import ipc_stream, read_stream
from meshagent.server.stores.tables.table_store import TableSearch
from tests.support.database import CALLER, RoomDatabase, open_database
from tests.support.hypothesis_profiles import examples

ROWS: list[dict[str, Any]] = [
    {"id": 1, "n": 7, "r": 1.5, "s": "a\\b", "moment": "2025-01-01T00:00:00", "mark": 0},
    {"id": 2, "n": 6, "r": -2.0, "s": "a%b", "moment": "2024-12-31T22:00:00", "mark": 0},
    {"id": 3, "n": None, "r": 0.0, "s": None, "moment": None, "mark": 0},
    {"id": 4, "n": -7, "r": None, "s": "A_B", "moment": "2025-01-01T02:00:00", "mark": 0},
    {"id": 5, "n": 0, "r": 3.0, "s": "", "moment": "2025-01-02T00:00:00", "mark": 0},
]
TYPES = {"id": "int", "n": "int", "r": "float", "s": "text", "moment": "timestamp", "mark": "int"}


class SqlRoom:
    """A room with a table `t` of `ROWS`, and SQL over it."""

    def __init__(self, database: RoomDatabase) -> None:
        self.database = database
        self.service = SqlService(database.tables)

    async def select(self, text: str, parameters: bytes = b"") -> list[Any]:
        """The values in the first column of a query's rows, sorted."""
        answer = await self.service.open_sql_query(CALLER, api.SqlRequest(query=text), parameters)
        values: list[Any] = []
        async for piece in self.service.read(CALLER, str(answer.headers["query_id"])):
            for batch in read_stream(piece)[1]:
                values += batch.column(0).to_pylist()
        return sorted(values)

    async def change(self, text: str, parameters: bytes = b"") -> int:
        """Run a statement; how many rows it changed."""
        result = await self.service.execute_sql_statement(CALLER, api.SqlRequest(query=text), parameters)
        return result.rows_affected


@asynccontextmanager
async def sql_room(folder: Path) -> AsyncIterator[SqlRoom]:
    async with open_database(folder) as database:
        types = {name: {"type": kind} for name, kind in TYPES.items()}
        await database.ask(tables_api.CREATE_TABLE, name="t", data=ROWS, schema=types)
        yield SqlRoom(database)


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[SqlRoom]:
    async with sql_room(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize(
    "condition",
    [
        "n / 2 = 3",
        "n / 2 = 3.5",
        "s LIKE 'a\\b'",
        "s LIKE 'a\\%b'",
        "s LIKE 'a!%b' ESCAPE '!'",
        "moment = '2025-01-01T02:00:00+02:00'",
        "moment < TIMESTAMP '2025-01-01 01:00:00'",
        "n = NULL",
        "n NOT IN (1, NULL)",
        "CAST(r AS BIGINT) = 2",
        "n IS NOT DISTINCT FROM NULL",
        "CASE WHEN n > 0 THEN s = 'a%b' ELSE r > 2 END",
        "n = (SELECT max(n) FROM t)",
        't.id > 2 AND "n" < 1',
        "id IN (SELECT u.n FROM t u)",
    ],
)
async def test_a_change_takes_the_rows_of_its_preview(room: SqlRoom, condition: str) -> None:
    preview = await room.select(f"SELECT id FROM t WHERE {condition}")
    assert await room.change(f"UPDATE t SET mark = 1 WHERE {condition}") == len(preview)
    assert await room.select("SELECT id FROM t WHERE mark = 1") == preview
    assert await room.change(f"DELETE FROM t WHERE {condition}") == len(preview)
    assert await room.select("SELECT id FROM t") == [row["id"] for row in ROWS if row["id"] not in preview]


async def test_what_a_query_refuses_a_change_refuses(room: SqlRoom) -> None:
    for condition in ("n % 0 = 1", "nope = 1", "s > 1"):
        with pytest.raises(InvalidRequestError):
            await room.select(f"SELECT id FROM t WHERE {condition}")
        for text in ("UPDATE t SET mark = 1", "DELETE FROM t"):
            with pytest.raises(InvalidRequestError):
                await room.change(f"{text} WHERE {condition}")
    assert len(await room.select("SELECT id FROM t WHERE mark = 0")) == len(ROWS)


async def test_parameters_and_assignments_that_swap(room: SqlRoom) -> None:
    batch = pa.RecordBatch.from_pylist([{"mark": 5, "least": 6}])
    assert await room.change("UPDATE t SET mark = ? WHERE n >= ?", ipc_stream(batch.schema, batch)) == 2
    assert await room.select("SELECT id FROM t WHERE mark = 5") == [1, 2]
    assert await room.change("UPDATE t SET mark = n, n = mark WHERE mark = 5") == 2
    assert await room.select("SELECT mark * 10 + n FROM t WHERE n = 5") == [65, 75]
    assert await room.change("UPDATE t SET mark = -1") == len(ROWS)


async def test_a_change_of_too_many_rows_changes_none(room: SqlRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MAX_CHANGED_ROWS", 3)
    with pytest.raises(LimitExceededError):
        await room.change("DELETE FROM t WHERE id < 5")
    assert await room.change("DELETE FROM t WHERE id < 4") == 3
    assert await room.change("DELETE FROM t") == 2, "all rows need no ids"


async def test_tables_that_differ_only_in_case_are_told_apart(room: SqlRoom) -> None:
    await room.database.ask(tables_api.CREATE_TABLE, name="T", data=[{"id": 9}])
    with pytest.raises(InvalidRequestError, match="alias"):
        await room.change("DELETE FROM t WHERE id IN (SELECT id FROM T)")
    assert await room.change("DELETE FROM T WHERE id = 9") == 1
    assert len(await room.select("SELECT id FROM t")) == len(ROWS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT id FROM t JOIN u USING (id)", [1, 2]),
        ("SELECT id FROM t NATURAL JOIN u WHERE extra > $least", [2]),
        ("SELECT COLUMNS('i.*') FROM t", [1, 2, 3, 4, 5]),
        (
            "SELECT value FROM (UNPIVOT (SELECT id, extra FROM u) ON id, extra INTO NAME name VALUE value)",
            [1, 2, 10, 20],
        ),
        ("WITH w AS (SELECT * FROM u) SELECT id FROM w JOIN t USING (id)", [1, 2]),
        ("SELECT id FROM t WHERE id IN (SELECT id FROM u JOIN t USING (id))", [1, 2]),
    ],
)
async def test_joins_by_name_and_patterns_of_columns(room: SqlRoom, text: str, expected: list[int]) -> None:
    await room.database.ask(tables_api.CREATE_TABLE, name="u", data=[{"id": 1, "extra": 10}, {"id": 2, "extra": 20}])
    batch = pa.RecordBatch.from_pylist([{"least": 10}])
    assert await room.select(text, ipc_stream(batch.schema, batch)) == expected


async def test_joins_by_name_need_the_grants_of_their_tables(room: SqlRoom) -> None:
    parsed = await room.database.tables.parse_sql("SELECT * FROM t JOIN secret USING (id)", b"")
    assert parsed.reads == ["secret", "t"]
    with pytest.raises(NotFoundError):
        await room.select("SELECT * FROM t JOIN secret USING (id)")


@given(st.sets(st.integers(0, 200)) | st.sets(st.integers(0, 60), min_size=40))
def test_filters_of_ids_hold_for_these_ids(ids: set[int]) -> None:
    held: set[int] = set()
    for part in (filter_of_ids(list(ids)) or "_rowid IN ()").split(" OR "):
        numbers = [int(number) for number in re.findall(r"\d+", part)]
        held |= set(numbers) if " IN " in part else set(range(numbers[0], numbers[1] + 1))
    assert held == ids


# --- a model of conditions -----------------------------------------------------------------------------

Row = dict[str, Any]
Condition = tuple[str, Callable[[Row], bool | None]]
"""SQL text, and what it gives for a row: true, false or unknown."""

TERMS: dict[str, Callable[[Row], Any]] = {
    "n": lambda row: row["n"],
    "id": lambda row: row["id"],
    "n + 1": lambda row: None if row["n"] is None else row["n"] + 1,
    "id * 2 - n": lambda row: None if row["n"] is None else row["id"] * 2 - row["n"],
    "-n": lambda row: None if row["n"] is None else -row["n"],
}
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda left, right: left == right,
    "<>": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    ">=": lambda left, right: left >= right,
}


def both(left: bool | None, right: bool | None) -> bool | None:
    return False if left is False or right is False else None if left is None or right is None else True


def opposite(value: bool | None) -> bool | None:
    return None if value is None else not value


def comparison(term: str, operator: str, constant: int) -> Condition:
    def holds(row: Row) -> bool | None:
        value = TERMS[term](row)
        return None if value is None else COMPARISONS[operator](value, constant)

    return f"{term} {operator} {constant}", holds


def listed(column: str, constants: list[int], negative: bool) -> Condition:
    def holds(row: Row) -> bool | None:
        return None if row[column] is None else (row[column] in constants) != negative

    return f"{column} {'NOT ' * negative}IN ({', '.join(map(str, constants))})", holds


def between(column: str, low: int, high: int) -> Condition:
    def holds(row: Row) -> bool | None:
        return None if row[column] is None else low <= row[column] <= high

    return f"{column} BETWEEN {low} AND {high}", holds


def null(column: str, negative: bool) -> Condition:
    return f"{column} IS {'NOT ' * negative}NULL", lambda row: (row[column] is None) != negative


def text_equal(text: str) -> Condition:
    return f"s = '{text}'", lambda row: None if row["s"] is None else row["s"] == text


def text_begins(prefix: str) -> Condition:
    return f"s LIKE '{prefix}%'", lambda row: None if row["s"] is None else row["s"].startswith(prefix)


def joined(left: Condition, word: str, right: Condition) -> Condition:
    def holds(row: Row) -> bool | None:
        if word == "AND":
            return both(left[1](row), right[1](row))
        return opposite(both(opposite(left[1](row)), opposite(right[1](row))))

    return f"({left[0]}) {word} ({right[0]})", holds


def negation(inner: Condition) -> Condition:
    return f"NOT ({inner[0]})", lambda row: opposite(inner[1](row))


CONSTANTS = st.integers(-8, 15)
INTEGERS = st.sampled_from(["n", "id"])
LISTS = st.builds(listed, INTEGERS, st.lists(CONSTANTS, min_size=1, max_size=3), st.booleans())
CONDITIONS: st.SearchStrategy[Condition] = st.recursive(
    st.one_of(
        LISTS,
        st.builds(comparison, st.sampled_from(sorted(TERMS)), st.sampled_from(sorted(COMPARISONS)), CONSTANTS),
        st.builds(between, INTEGERS, CONSTANTS, CONSTANTS),
        st.builds(null, st.sampled_from(["n", "s", "r", "moment"]), st.booleans()),
        st.builds(text_equal, st.sampled_from(["", "a%b", "a\\b", "A_B"])),
        st.builds(text_begins, st.sampled_from(["a", "a\\", "A", ""])),
    ),
    lambda inner: st.builds(joined, inner, st.sampled_from(["AND", "OR"]), inner) | st.builds(negation, inner),
    max_leaves=5,
)
JOINED_LISTS: st.SearchStrategy[Condition] = st.recursive(
    LISTS | st.builds(comparison, st.just("n"), st.sampled_from(["=", "<>"]), CONSTANTS),
    lambda inner: st.builds(joined, inner, st.sampled_from(["AND", "OR"]), inner) | st.builds(negation, inner),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def shared_room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[asyncio.Runner, SqlRoom]]:
    """One room for all examples, on a loop that outlives them."""
    with asyncio.Runner() as runner:
        context = sql_room(tmp_path_factory.mktemp("tables"))
        opened = runner.run(context.__aenter__())
        yield runner, opened
        runner.run(context.__aexit__(None, None, None))


@settings(max_examples=examples(30))
@given(condition=CONDITIONS)
def test_all_ways_to_say_it_take_the_rows_of_the_model(
    shared_room: tuple[asyncio.Runner, SqlRoom], condition: Condition
) -> None:
    runner, room = shared_room
    text, holds = condition
    expected = [row["id"] for row in ROWS if holds(row) is True]

    async def check() -> None:
        await room.change("UPDATE t SET mark = 0")  # an example that failed may have left marks
        assert await room.select(f"SELECT id FROM t WHERE {text}") == expected
        assert await room.change(f"UPDATE t SET mark = 1 WHERE {text}") == len(expected)
        assert await room.select("SELECT id FROM t WHERE mark = 1") == expected
        assert await room.database.engine.count("t", TableSearch(where=text)) == len(expected)
        found = await room.database.rows("t", where=text.replace("\\%", "\\\\%"), select=["id"])
        assert sorted(row["id"] for row in found) == expected, "the flat dialect has backslash escapes"

    runner.run(check())


@settings(max_examples=examples(100))
@given(condition=JOINED_LISTS)
@example(condition=joined(listed("n", [9], True), "OR", listed("n", [5], True)))
@example(condition=negation(joined(listed("n", [7, 6], False), "AND", listed("n", [0], False))))
@example(
    condition=joined(
        joined(listed("n", [9, -1], True), "AND", negation(listed("n", [-3], False))),
        "OR",
        listed("n", [10, -2, 5], True),
    )
)
def test_lists_that_are_joined_take_no_rows_without_a_value(
    shared_room: tuple[asyncio.Runner, SqlRoom], condition: Condition
) -> None:
    runner, room = shared_room
    text, holds = condition
    expected = [row["id"] for row in ROWS if holds(row) is True]

    async def check() -> None:
        assert await room.database.engine.count("t", TableSearch(where=text)) == len(expected)
        found = await room.database.rows("t", where=text, select=["id"])
        assert sorted(row["id"] for row in found) == expected

    runner.run(check())
