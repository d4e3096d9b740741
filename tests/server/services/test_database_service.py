"""The operations of the room database, end to end on the engine (protocol 11)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from meshagent.api.contracts import database as api
from meshagent.api.errors import (
    AlreadyExistsError,
    InvalidRequestError,
    InvalidStateError,
    LimitExceededError,
    NotFoundError,
)
from meshagent.server.engines.local import LocalTableStore
from meshagent.server.stores.tables.filters import MAX_DEPTH
from meshagent.server.stores.tables.table_engine import TableEngine
from tests.support.database import RoomDatabase, open_database

PEOPLE = {
    "id": {"type": "int"},
    "name": {"type": "text"},
    "score": {"type": "float"},
    "born": {"type": "date"},
    "seen": {"type": "timestamp"},
}
ANN: dict[str, Any] = {"id": 1, "name": "Ann", "score": 1.5, "born": "2001-02-03", "seen": "2025-01-02T03:04:05"}
BOB: dict[str, Any] = {"id": 2, "name": "Bob", "score": 2.5, "born": "1999-12-31", "seen": "2025-01-02T04:04:05"}


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[RoomDatabase]:
    async with open_database(tmp_path) as opened:
        yield opened


@pytest.fixture
async def people(database: RoomDatabase) -> RoomDatabase:
    await database.ask(api.CREATE_TABLE, name="people", schema=PEOPLE, data=[ANN, BOB])
    return database


async def ids(database: RoomDatabase, where: str, table: str = "people") -> list[int]:
    return sorted(row["id"] for row in await database.rows(table, where=where))


# --- tables --------------------------------------------------------------------------------------------


async def test_a_new_room_has_no_tables_and_no_folder(database: RoomDatabase, tmp_path: Path) -> None:
    assert await database.ask(api.LIST_TABLES) == {"tables": []}
    for operation, fields in (
        (api.INSERT, {"table": "t", "records": [{}]}),
        (api.SEARCH, {"table": "t"}),
        (api.DROP_TABLE, {"name": "t"}),
        (api.OPTIMIZE, {"table": "t"}),
        (api.LIST_INDEXES, {"table": "t"}),
    ):
        with pytest.raises(NotFoundError, match="table 't' not found"):
            await database.ask(operation, **fields)
    assert os.listdir(tmp_path) == []


async def test_tables_come_and_go(database: RoomDatabase) -> None:
    answer = await database.ask(api.CREATE_TABLE, name="b", schema=PEOPLE)
    assert answer == {"table": "b", "status": "ok"}
    await database.ask(api.CREATE_TABLE, name="a", data={"id": 1})
    assert await database.ask(api.LIST_TABLES) == {"tables": ["a", "b"]}
    assert await database.ask(api.DROP_TABLE, name="a") == {"table": "a", "status": "ok"}
    assert await database.ask(api.LIST_TABLES) == {"tables": ["b"]}
    with pytest.raises(NotFoundError):
        await database.ask(api.DROP_TABLE, name="a")
    await database.ask(api.DROP_TABLE, name="a", ignore_missing=True)
    await database.ask(api.DROP_TABLE, name="a", ignoreMissing=True)
    with pytest.raises(NotFoundError):
        await database.rows("a")


async def test_a_dropped_table_leaves_nothing_behind(people: RoomDatabase, tmp_path: Path) -> None:
    await people.ask(api.DROP_TABLE, name="people")
    assert [files for _, _, files in os.walk(tmp_path) if files] == []
    await people.ask(api.CREATE_TABLE, name="people", data=[{"other": "x"}])
    assert await people.rows("people") == [{"other": "x"}]


async def test_modes_of_creation(people: RoomDatabase) -> None:
    with pytest.raises(AlreadyExistsError):
        await people.ask(api.CREATE_TABLE, name="people", schema=PEOPLE)
    await people.ask(api.CREATE_TABLE, name="people", data=[{"x": 1}], mode="create_if_not_exists")
    assert await ids(people, "") == [1, 2]
    await people.ask(api.CREATE_TABLE, name="people", data=[{"x": 1}], mode="overwrite")
    assert await people.rows("people") == [{"x": 1}]
    await people.ask(api.INSERT, table="people", records={"x": 2})
    assert len(await people.rows("people")) == 2


@pytest.mark.parametrize("fields", [{}, {"data": []}, {"schema": {}}, {"data": [{}]}])
async def test_a_table_needs_columns(database: RoomDatabase, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        await database.ask(api.CREATE_TABLE, name="t", **fields)
    assert await database.ask(api.LIST_TABLES) == {"tables": []}


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".x", "a b", "ü", "x" * 201, "a\0b", "a\nb"])
async def test_names_that_are_no_table(database: RoomDatabase, name: str) -> None:
    for operation, key in ((api.CREATE_TABLE, "name"), (api.DROP_TABLE, "name"), (api.SEARCH, "table")):
        with pytest.raises(InvalidRequestError):
            await database.ask(operation, **{key: name})


async def test_the_number_of_tables_is_bounded(tmp_path: Path) -> None:
    async with open_database(tmp_path, max_tables=2) as database:
        for name in ("a", "b"):
            await database.ask(api.CREATE_TABLE, name=name, data=[{"x": 1}])
        with pytest.raises(LimitExceededError):
            await database.ask(api.CREATE_TABLE, name="c", data=[{"x": 1}])
        await database.ask(api.CREATE_TABLE, name="b", data=[{"x": 1}], mode="overwrite")


# --- types ---------------------------------------------------------------------------------------------


async def test_rows_come_back_as_they_went_in(people: RoomDatabase) -> None:
    assert await people.rows("people", where="id = 1") == [ANN]


@pytest.mark.parametrize(
    ("column", "given", "expected"),
    [
        ("id", 3.0, 3),
        ("id", -(2**63), -(2**63)),
        ("score", 3, 3.0),
        ("name", "é\n'\"\\\x00😀", "é\n'\"\\\x00😀"),
        ("born", "2025-01-02T10:00:00", "2025-01-02"),
        ("seen", "2025-01-02 03:04:05", "2025-01-02T03:04:05"),
        ("seen", "2025-01-02T03:04:05.123456+01:00", "2025-01-02T02:04:05.123456"),
        ("seen", "2025-01-02T03:04:05Z", "2025-01-02T03:04:05"),
        ("seen", "2025-01-02", "2025-01-02T00:00:00"),
        ("seen", None, None),
    ],
)
async def test_values_in_inserts_and_updates(people: RoomDatabase, column: str, given: Any, expected: Any) -> None:
    await people.ask(api.INSERT, table="people", records={"name": "new", column: given})
    inserted = (await people.rows("people"))[-1]
    assert inserted[column] == expected
    await people.ask(api.UPDATE, table="people", where="born = '2001-02-03'", values={column: given})
    updated = await people.rows("people", where="score = 1.5 OR id = 1")
    assert updated[0][column] == expected


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"id": "x"}, "row 1: column 'id' takes a whole number, not 'x'"),
        ({"id": 1.5}, "whole number"),
        ({"id": 2**63}, "64 bits"),
        ({"id": True}, "whole number"),
        ({"score": "1"}, "a number"),
        ({"name": 1}, "a text"),
        ({"born": "soon"}, "a date"),
        ({"seen": 12}, "a time"),
        ({"nope": 1}, "column 'nope' not found"),
    ],
)
async def test_values_that_do_not_fit(people: RoomDatabase, record: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        await people.ask(api.INSERT, table="people", records=[record])
    with pytest.raises(InvalidRequestError):
        await people.ask(api.UPDATE, table="people", where="true", values=record)
    assert await people.rows("people") == [ANN, BOB]


async def test_types_are_inferred_from_all_rows(database: RoomDatabase) -> None:
    rows: list[dict[str, Any]] = [
        {"i": 1, "f": 1, "t": "x", "b": True, "none": None, "vec": [1, 0.5], "tags": ["a"], "o": {"k": 1, "n": None}},
        {"i": None, "f": 1.5, "late": "y", "vec": [2, 3], "tags": [], "o": {"k": 2, "n": None}},
    ]
    await database.ask(api.CREATE_TABLE, name="t", data=rows)
    first, second = await database.rows("t")
    assert first == {**rows[0], "f": 1.0, "vec": [1.0, 0.5], "late": None}
    assert second["vec"] == [2.0, 3.0]
    assert second["b"] is None
    assert second["none"] is None
    await database.ask(api.INSERT, table="t", records={"none": "text", "o": {"k": 3, "n": "z"}})
    await database.ask(api.UPDATE, table="t", where="true", values={"tags": [], "o": {"k": 4, "n": "'q'"}, "b": False})
    assert [row["o"] for row in await database.rows("t")] == [{"k": 4, "n": "'q'"}] * 3
    await database.ask(api.UPDATE, table="t", where="true", values={"tags": ["it's"]})
    assert (await database.rows("t", limit=1))[0]["tags"] == ["it's"]
    assert len(await database.rows("t", vector=[1, 1])) == 2


@pytest.mark.parametrize(
    "rows",
    [
        [{"a": 1}, {"a": "x"}],
        [{"a": True}, {"a": 1}],
        [{"a": 2**63}],
        [{"a": [1, "x"]}],
        [{"a": {"b": 1}}, {"a": [1]}],
        [{"a.b": 1}],
        [{"": 1}],
        [{"_distance": 1}],
    ],
)
async def test_rows_without_common_types(database: RoomDatabase, rows: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidRequestError):
        await database.ask(api.CREATE_TABLE, name="t", data=rows)


@pytest.mark.parametrize(
    "column",
    [
        {"type": "bool"},
        {},
        {"type": "vector", "size": 0, "element_type": {"type": "float"}},
        {"type": "vector", "size": 2},
        {"type": "vector", "size": 2, "element_type": {"type": "text"}},
    ],
)
async def test_types_that_do_not_exist(database: RoomDatabase, column: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        await database.ask(api.CREATE_TABLE, name="t", schema={"a": column})


async def test_vectors_of_whole_numbers(database: RoomDatabase) -> None:
    element = {"type": "int"}
    schema = {"v": {"type": "vector", "size": 2, "element_type": element}, "id": {"type": "int"}}
    await database.ask(api.CREATE_TABLE, name="t", schema=schema, data=[{"id": 1, "v": [1, 2**60]}])
    assert await database.rows("t") == [{"v": [1, 2**60], "id": 1}]
    for wrong in ([1], [1, 2, 3], [1, 0.5], [1, None], "x"):
        with pytest.raises(InvalidRequestError):
            await database.ask(api.INSERT, table="t", records={"v": wrong})


# --- columns -------------------------------------------------------------------------------------------


async def test_added_columns_are_computed_and_take_null(people: RoomDatabase) -> None:
    columns = {"plus": "id + 1", "word": '"hello"', "other": "'it''s'", "yes": "true", "now": "CURRENT_TIMESTAMP"}
    assert await people.ask(api.ADD_COLUMNS, table="people", new_columns=columns) == {"table": "people", "status": "ok"}
    row = (await people.rows("people", where="id = 1"))[0]
    assert (row["plus"], row["word"], row["other"], row["yes"]) == (2, "hello", "it's", True)
    assert "T" in row["now"]
    await people.ask(api.INSERT, table="people", records={"id": 3})
    assert (await people.rows("people", where="id = 3"))[0]["word"] is None
    await people.ask(api.INSERT, table="people", records={"id": 4, "now": "2025-01-02T03:04:05", "yes": False})
    assert await ids(people, "now = '2025-01-02T03:04:05'") == [4]


@pytest.mark.parametrize(
    "columns", [{}, {"a": "nope + 1"}, {"a": "1 +"}, {"id": "1"}, {"a": "NULL"}, {"a.b": "1"}, {"a": "1", "b": "NULL"}]
)
async def test_columns_that_cannot_be_added(people: RoomDatabase, columns: dict[str, str]) -> None:
    with pytest.raises((InvalidRequestError, AlreadyExistsError)) as caught:
        await people.ask(api.ADD_COLUMNS, table="people", new_columns=columns)
    assert ".rs" not in str(caught.value)
    assert await people.rows("people") == [ANN, BOB]


async def test_dropping_columns(people: RoomDatabase) -> None:
    answer = await people.ask(api.DROP_COLUMNS, table="people", columns=["born", "seen"])
    assert answer == {"table": "people", "dropped_columns": ["born", "seen"], "status": "ok"}
    assert await people.rows("people", limit=1) == [{"id": 1, "name": "Ann", "score": 1.5}]
    for wrong in (["id", "nope"], [], ["id", "name", "score"]):
        with pytest.raises(InvalidRequestError):
            await people.ask(api.DROP_COLUMNS, table="people", columns=wrong)
    assert len((await people.rows("people"))[0]) == 3


# --- writes --------------------------------------------------------------------------------------------


async def test_inserting(people: RoomDatabase) -> None:
    answer = await people.ask(api.INSERT, table="people", records=[{"id": 3}, {"name": "Dan"}])
    assert answer == {"table": "people", "result": {"inserted": 2}, "status": "ok"}
    await people.ask(api.INSERT, table="people", records=[])
    assert len(await people.rows("people")) == 4
    with pytest.raises(InvalidRequestError):
        await people.ask(api.INSERT, table="people", records=[{"id": 5}, {"id": "x"}])
    assert await ids(people, "id = 5") == []


async def test_a_bad_row_fails_its_own_request_alone(people: RoomDatabase) -> None:
    requests = [people.ask(api.INSERT, table="people", records={"id": n if n != 7 else "x"}) for n in range(3, 20)]
    answers = await asyncio.gather(*requests, return_exceptions=True)
    assert [n for n, answer in enumerate(answers, 3) if isinstance(answer, InvalidRequestError)] == [7]
    assert [row["id"] for row in await people.rows("people", where="id > 2")] == [n for n in range(3, 20) if n != 7]


async def test_updating_by_values_and_expressions_at_once(people: RoomDatabase) -> None:
    answer = await people.ask(
        api.UPDATE,
        table="people",
        where='name = "Ann"',
        values={"name": "x' OR true --", "born": None, "seen": "2030-01-01 00:00:00"},
        values_sql={"score": "score + id", "id": "id + 10"},
    )
    assert answer == {"table": "people", "where": 'name = "Ann"', "status": "ok"}
    assert await people.rows("people", where="id = 11") == [
        {"id": 11, "name": "x' OR true --", "score": 2.5, "born": None, "seen": "2030-01-01T00:00:00"}
    ]
    assert await people.rows("people", where="id = 2") == [BOB]


async def test_expressions_see_the_row_as_it_was(database: RoomDatabase) -> None:
    names = [f"c{n}" for n in range(12)]
    await database.ask(api.CREATE_TABLE, name="t", data=[dict.fromkeys(names, 0) | {"c0": 1, "s": "new"}])
    shifted = {name: f"`{before}`" for before, name in zip(names, names[1:] + names[:1], strict=True)}
    for step in range(1, 4):
        await database.ask(api.UPDATE, table="t", where="c0 = 1 OR c1 = 1 OR c2 = 1", values_sql=shifted)
        row = (await database.rows("t"))[0]
        assert [name for name in names if row[name] == 1] == [f"c{step}"]
    moved = {"values": {"s": "done"}, "values_sql": {"c0": "length(s)"}}
    await database.ask(api.UPDATE, table="t", where="true", **moved)
    assert (await database.rows("t", select=["c0", "s"])) == [{"c0": 3, "s": "done"}]


@pytest.mark.parametrize(
    "fields",
    [
        {"where": "true"},
        {"where": "true", "values": {}, "values_sql": None},
        {"where": "", "values": {"id": 1}},
        {"where": "true", "values": {"nope": 1}},
        {"where": "true", "values_sql": {"nope": "1"}},
        {"where": "true", "values": {"id": 1}, "values_sql": {"id": "1"}},
        {"where": "nope = 1", "values": {"id": 1}},
        {"where": "id = = 1", "values": {"id": 1}},
        {"where": "true", "values_sql": {"id": "1 +"}},
    ],
)
async def test_updates_that_make_no_sense(people: RoomDatabase, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await people.ask(api.UPDATE, table="people", **fields)
    assert ".rs" not in str(caught.value)
    assert await people.rows("people") == [ANN, BOB]


async def test_deleting(people: RoomDatabase) -> None:
    answer = await people.ask(api.DELETE, table="people", where="name = 'Ann'")
    assert answer == {"table": "people", "where": "name = 'Ann'", "status": "ok"}
    assert await ids(people, "") == [2]
    with pytest.raises(InvalidRequestError):
        await people.ask(api.DELETE, table="people", where=" ")
    await people.ask(api.DELETE, table="people", where="true")
    assert await people.rows("people") == []


async def test_merging_partial_rows(people: RoomDatabase) -> None:
    records = [{"id": 1, "name": "Anna"}, {"id": 3, "name": "Cid"}, {"id": 3, "score": 9}, {"id": 2, "score": 5}]
    answer = await people.ask(api.MERGE, table="people", on="id", records=records)
    assert answer == {"table": "people", "on": "id", "status": "ok"}
    rows = {row["id"]: row for row in await people.rows("people")}
    assert rows[1] == {**ANN, "name": "Anna"}
    assert rows[2] == {**BOB, "score": 5.0}
    assert rows[3] == {"id": 3, "name": "Cid", "score": 9.0, "born": None, "seen": None}
    await people.ask(api.MERGE, table="people", on="id", records={"id": 3, "name": "one"})
    assert len(await people.rows("people")) == 3


@pytest.mark.parametrize(("on", "record"), [("nope", {"id": 1}), ("id", {"name": "x"}), ("id", {"id": None})])
async def test_merges_without_a_key(people: RoomDatabase, on: str, record: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        await people.ask(api.MERGE, table="people", on=on, records=[record])


async def test_upserts_at_the_same_time_make_one_row(people: RoomDatabase) -> None:
    await asyncio.gather(
        *(people.ask(api.MERGE, table="people", on="id", records={"id": 9, "score": n}) for n in range(20))
    )
    rows = await people.rows("people", where="id = 9")
    assert [row["score"] for row in rows] == [19.0]


# --- filters -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("", [1, 2]),
        ("true", [1, 2]),
        ('name = "Ann"', [1]),
        ("name = 'Ann'", [1]),
        ("`name` LIKE 'B%'", [2]),
        ('id = 1 AND name = "Ann" AND score = 1.5', [1]),
        ("name = null", []),
        ("name != null", [1, 2]),
        ("id IN (1, 3)", [1]),
        ("born = '2001-02-03'", [1]),
        ('born < "2000-01-01"', [2]),
        ("seen BETWEEN '2025-01-02 03:00:00' AND '2025-01-02T03:59:59'", [1]),
        ("seen = '2025-01-02T05:04:05+01:00'", [2]),
        ("id + 1 = 3 AND CAST(score AS BIGINT) = 2", [2]),
    ],
)
async def test_filters(people: RoomDatabase, where: str, expected: list[int]) -> None:
    assert await ids(people, where) == expected


async def test_names_in_backticks(database: RoomDatabase) -> None:
    await database.ask(api.CREATE_TABLE, name="t", data=[{"Full Name": "Ann", "order": 1}])
    assert len(await database.rows("t", where='`Full Name` = "Ann" AND `order` = 1')) == 1
    await database.ask(api.UPDATE, table="t", where="`order` = 1", values={"Full Name": "Bo", "order": 2})
    assert await database.rows("t") == [{"Full Name": "Bo", "order": 2}]


async def test_a_filter_over_the_bound_is_refused(people: RoomDatabase) -> None:
    assert await ids(people, "id = 1" + "+0" * (MAX_DEPTH // 2 - 1)) == [1]
    with pytest.raises(LimitExceededError):
        await people.rows("people", where="id = 1" + "+0" * MAX_DEPTH)


@pytest.mark.parametrize("where", ["id > 0 id = 3", "id > 0 3", "id > 0 'x'", "id > 0) OR (id > 1", "id > 0; id = 3"])
async def test_a_filter_is_judged_whole_before_anything_runs(people: RoomDatabase, where: str) -> None:
    before = await people.rows("people")
    for call, fields in (
        (api.DELETE, {}),
        (api.UPDATE, {"values": {"score": 9.5}}),
        (api.SEARCH, {}),
    ):
        with pytest.raises(InvalidRequestError):
            await people.ask(call, table="people", where=where, **fields)
    with pytest.raises(InvalidRequestError):
        await people.ask(api.UPDATE, table="people", where="true", values_sql={"score": "1.5 " + where})
    with pytest.raises(InvalidRequestError):
        await people.ask(api.ADD_COLUMNS, table="people", new_columns={"more": "id " + where})
    assert await people.rows("people") == before


async def test_the_smallest_integer_in_a_filter(database: RoomDatabase) -> None:
    await database.ask(api.CREATE_TABLE, name="t", data=[{"n": -(2**63)}, {"n": 1 - 2**63}])
    assert await database.rows("t", where=f"n = {-(2**63)}") == [{"n": -(2**63)}]
    assert await database.rows("t", where=f"n IN ({-(2**63)}, 5)") == [{"n": -(2**63)}]


@pytest.mark.parametrize("where", ["id % 0 = 1", "id / 0 = 1", "id % (id - 1) = 0"])
async def test_division_by_zero_is_the_callers_error(people: RoomDatabase, where: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"(?i)zero"):
        await people.rows("people", where=where)
    with pytest.raises(InvalidRequestError, match=r"(?i)zero"):
        await people.ask(api.DELETE, table="people", where=where)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("o", {"a": 1, "unknown": 2}),
        ("o", {"a": 1.5}),
        ("o", {"a": True}),
        ("o", {"inner": {"unknown": 1}}),
        ("o", [1]),
        ("items", [{"k": 1, "unknown": 2}]),
        ("items", {"k": 1}),
        ("vector", [1e39, 1.0]),
        ("vector", [1.0, -1e39]),
        ("vector", [None, 1.0]),
        ("number", 1e39),
    ],
)
async def test_values_that_a_column_cannot_hold_are_refused(database: RoomDatabase, column: str, value: Any) -> None:
    first = {"id": 1, "o": {"a": 1, "inner": {"x": "y"}}, "items": [{"k": 1}], "vector": [1.5, 2.5]}
    await database.ask(api.CREATE_TABLE, name="t", data=[first])
    await database.ask(api.ADD_COLUMNS, table="t", new_columns={"number": "CAST(1.5 AS FLOAT)"})
    before = await database.rows("t")
    for call, fields in (
        (api.INSERT, {"records": [{"id": 2, column: value}]}),
        (api.MERGE, {"on": "id", "records": [{"id": 1, column: value}]}),
        (api.UPDATE, {"where": "true", "values": {column: value}}),
    ):
        with pytest.raises(InvalidRequestError):
            await database.ask(call, table="t", **fields)
    assert await database.rows("t") == before
    await database.ask(
        api.INSERT,
        table="t",
        records=[{"o": {"a": 2, "inner": None}, "items": [{}, None], "vector": [3.4e38, -3.4e38], "number": 3.4e38}],
    )
    assert len(await database.rows("t")) == 2


async def test_columns_whose_names_differ_in_case_are_swapped(database: RoomDatabase) -> None:
    await database.ask(api.CREATE_TABLE, name="t", data=[{"a": 1, "A": 2}])
    await database.ask(api.UPDATE, table="t", where="true", values_sql={"a": "`A`", "A": "`a`"})
    assert await database.rows("t") == [{"a": 2, "A": 1}]


async def test_merging_on_a_name_with_a_double_quote_is_refused(database: RoomDatabase) -> None:
    await database.ask(api.CREATE_TABLE, name="t", data=[{'q"x': 1, "n": 1}])
    with pytest.raises(InvalidRequestError, match="double quote"):
        await database.ask(api.MERGE, table="t", on='q"x', records=[{'q"x': 1, "n": 2}])
    assert await database.rows("t") == [{'q"x': 1, "n": 1}]


async def test_a_phrase_in_double_quotes_is_searched(database: RoomDatabase) -> None:
    texts = ["hello big world", "big hello world", 'say "hi" now']
    await database.ask(api.CREATE_TABLE, name="t", data=[{"s": text} for text in texts])
    await database.ask(api.CREATE_FULL_TEXT_SEARCH_INDEX, table="t", column="s")
    assert [row["s"] for row in await database.rows("t", text='"hello big"')] == ["hello big world"]
    assert [row["s"] for row in await database.rows("t", text='"hi"')] == ['say "hi" now']
    assert {row["s"] for row in await database.rows("t", text="hello big")} == set(texts[:2])
    assert [row["s"] for row in await database.rows("t", text='say "hi"')] == ['say "hi" now']
    for odd in ('""', '"', '"hello', 'a"b"c'):
        await database.rows("t", text=odd)


# --- search --------------------------------------------------------------------------------------------


async def test_narrowing_a_scan(people: RoomDatabase) -> None:
    assert await people.rows("people", select=["score", "id"], limit=1) == [{"id": 1, "score": 1.5}]
    assert await people.rows("people", select=["id"], offset=1) == [{"id": 2}]
    assert await people.rows("people", limit=0) == []
    for wrong in ({"select": ["nope"]}, {"limit": -1}, {"offset": -1}, {"where": "nope = 1"}, {"vector": [1.0]}):
        with pytest.raises(InvalidRequestError) as caught:
            await people.rows("people", **wrong)
        assert "/" not in str(caught.value)


async def test_a_result_of_too_many_bytes(tmp_path: Path) -> None:
    async with open_database(tmp_path, max_result_bytes=10_000) as database:
        await database.ask(api.CREATE_TABLE, name="t", data=[{"text": "x" * 100, "n": n} for n in range(500)])
        with pytest.raises(LimitExceededError):
            await database.rows("t")
        assert len(await database.rows("t", select=["n"])) == 500


@pytest.fixture
async def documents(database: RoomDatabase) -> RoomDatabase:
    schema = {
        "id": {"type": "int"},
        "body": {"type": "text"},
        "place": {"type": "vector", "size": 8, "element_type": {"type": "float"}},
    }
    rows = [{"id": n, "body": f"word{n % 7} thing{n}", "place": [n / 300] * 8} for n in range(300)]
    await database.ask(api.CREATE_TABLE, name="docs", schema=schema, data=rows)
    return database


async def test_searching_by_nearness(documents: RoomDatabase) -> None:
    found = await documents.rows("docs", vector=[0.5] * 8, limit=3)
    assert found[0]["id"] == 150
    assert found[0]["_distance"] == 0.0
    assert list(found[0]) == ["id", "body", "place", "_distance"]
    assert len(await documents.rows("docs", vector=[0] * 8)) == 10
    filtered = await documents.rows("docs", vector=[0.5] * 8, where="id < 10", select=["id"], limit=2)
    assert [row["id"] for row in filtered] == [9, 8]
    with pytest.raises(InvalidRequestError, match="'place' of 8"):
        await documents.rows("docs", vector=[1, 2, 3])


async def test_searching_by_words(documents: RoomDatabase) -> None:
    with pytest.raises(InvalidStateError, match="full-text"):
        await documents.rows("docs", text="thing7")
    await documents.ask(api.CREATE_FULL_TEXT_SEARCH_INDEX, table="docs", column="body")
    found = await documents.rows("docs", text="thing7", select=["id"])
    assert [row["id"] for row in found] == [7]
    assert list(found[0]) == ["id", "_score"]
    assert len(await documents.rows("docs", text="word3")) == 10
    assert len(await documents.rows("docs", text="word3", where="id < 20", limit=100)) == 3
    await documents.ask(api.INSERT, table="docs", records={"id": 999, "body": "thing7 fresh"})
    assert [row["id"] for row in await documents.rows("docs", text="fresh")] == [999]
    assert await documents.rows("docs", text='"( unbalanced') == []


async def test_searching_by_words_and_nearness(documents: RoomDatabase) -> None:
    await documents.ask(api.CREATE_FULL_TEXT_SEARCH_INDEX, table="docs", column="body")
    found = await documents.rows("docs", text="thing150", vector=[0.5] * 8, select=["id"], limit=5)
    assert found[0]["id"] == 150
    assert list(found[0]) == ["id", "_relevance_score"]
    assert len(found) == 5
    filtered = await documents.rows("docs", text="word1", vector=[0.5] * 8, where="id < 9", limit=50)
    assert sorted(row["id"] for row in filtered) == list(range(9))


# --- indexes -------------------------------------------------------------------------------------------


async def test_all_kinds_of_indexes(documents: RoomDatabase) -> None:
    assert await documents.ask(api.LIST_INDEXES, table="docs") == {"indexes": []}
    await documents.ask(api.CREATE_VECTOR_INDEX, table="docs", column="place")
    await documents.ask(api.CREATE_SCALAR_INDEX, table="docs", column="id")
    await documents.ask(api.CREATE_FULL_TEXT_SEARCH_INDEX, table="docs", column="body")
    await documents.ask(api.CREATE_SCALAR_INDEX, table="docs", column="body", replace=None)
    listed = (await documents.ask(api.LIST_INDEXES, table="docs"))["indexes"]
    assert sorted((*index["columns"], index["type"]) for index in listed) == [
        ("body", "BTree"),
        ("body", "FTS"),
        ("id", "BTree"),
        ("place", "IVF_PQ"),
    ]
    assert (await documents.rows("docs", vector=[0.5] * 8, limit=1))[0]["id"] == 150
    assert await ids(documents, "id = 42", "docs") == [42]
    with pytest.raises(AlreadyExistsError):
        await documents.ask(api.CREATE_SCALAR_INDEX, table="docs", column="id", replace=False)
    await documents.ask(api.CREATE_SCALAR_INDEX, table="docs", column="id", replace=True)
    await documents.ask(api.OPTIMIZE, table="docs")
    assert len((await documents.ask(api.LIST_INDEXES, table="docs"))["indexes"]) == 4


async def test_indexes_that_cannot_be_made(people: RoomDatabase) -> None:
    schema = {"place": {"type": "vector", "size": 3, "element_type": {"type": "float"}}}
    await people.ask(api.CREATE_TABLE, name="few", schema=schema, data=[{"place": [1, 2, 3]}] * 255)
    with pytest.raises(InvalidStateError, match="256"):
        await people.ask(api.CREATE_VECTOR_INDEX, table="few", column="place")
    await people.ask(api.INSERT, table="few", records={"place": [4, 5, 6]})
    await people.ask(api.CREATE_VECTOR_INDEX, table="few", column="place")
    assert (await people.ask(api.LIST_INDEXES, table="few"))["indexes"][0]["type"] == "IVF_FLAT"
    for operation, column in (
        (api.CREATE_VECTOR_INDEX, "name"),
        (api.CREATE_FULL_TEXT_SEARCH_INDEX, "id"),
        (api.CREATE_SCALAR_INDEX, "nope"),
    ):
        with pytest.raises(InvalidRequestError):
            await people.ask(operation, table="people", column=column)


async def test_optimizing_an_empty_table(database: RoomDatabase) -> None:
    await database.ask(api.CREATE_TABLE, name="t", schema=PEOPLE)
    assert await database.ask(api.OPTIMIZE, table="t") == {"table": "t", "status": "ok"}


# --- life ----------------------------------------------------------------------------------------------


async def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    async with open_database(tmp_path) as database:
        await database.ask(api.CREATE_TABLE, name="people", schema=PEOPLE, data=[ANN])
        await database.ask(api.CREATE_SCALAR_INDEX, table="people", column="id")
        inserts = [asyncio.create_task(database.ask(api.INSERT, table="people", records=BOB)) for _ in range(5)]
        await asyncio.wait(inserts[:1])
    await asyncio.gather(*inserts)
    with pytest.raises(InvalidStateError):
        await database.rows("people")
    async with open_database(tmp_path) as database:
        assert await database.rows("people") == [ANN, *[BOB] * 5]
        assert len((await database.ask(api.LIST_INDEXES, table="people"))["indexes"]) == 1


async def test_rooms_are_apart(tmp_path: Path) -> None:
    store = LocalTableStore(TableEngine(tmp_path, durability="process"))
    one = RoomDatabase(store, "p", "one")
    other = RoomDatabase(store, "p", "../one")
    await one.ask(api.CREATE_TABLE, name="t", data=[{"x": 1}])
    await other.ask(api.CREATE_TABLE, name="t", data=[{"x": 2}])
    assert await one.rows("t") == [{"x": 1}]
    assert await other.rows("t") == [{"x": 2}]
    await one.service.close()
    await other.service.close()


async def test_deleting_a_room(tmp_path: Path) -> None:
    store = LocalTableStore(TableEngine(tmp_path))
    await store.delete_room("p", "r")
    for name in ("r", "other"):
        room = RoomDatabase(store, "p", name)
        await room.ask(api.CREATE_TABLE, name="t", data=[{"x": 1}])
        await room.service.close()
    await store.delete_room("p", "r")
    assert os.listdir(tmp_path / "p") == ["other"]


@pytest.mark.slow
def test_importing_the_service_loads_no_engine() -> None:
    program = (
        "import sys, meshagent.server.services.database\n"
        "assert not {'lancedb', 'pyarrow', 'numpy'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
