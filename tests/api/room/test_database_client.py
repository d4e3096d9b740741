"""`DatabaseClient` on a real room database, and the SQL it makes of filters (protocol 11)."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import AsyncIterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshagent.api import jsontext
from meshagent.api.contracts.data_types import (
    DataType,
    DateDataType,
    FloatDataType,
    IntDataType,
    TextDataType,
    TimestampDataType,
    VectorDataType,
)
from meshagent.api.errors import AlreadyExistsError, InvalidRequestError, InvalidStateError, NotFoundError
from meshagent.api.room.database import DatabaseClient, sql_filter
from meshagent.server.stores.tables.filters import translate_filter
from tests.support.database import open_database


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[DatabaseClient]:
    async with open_database(tmp_path) as room:
        yield DatabaseClient(room)


async def test_the_acceptance_check_of_the_specification(database: DatabaseClient) -> None:
    assert await database.list_tables() == []
    schema = {
        "id": IntDataType(),
        "name": TextDataType(),
        "place": VectorDataType(size=8, element_type=FloatDataType()),
    }
    await database.create_table_with_schema(name="things", schema=schema)
    assert await database.list_tables() == ["things"]
    await database.drop_table(name="things")
    await database.create_table_with_schema(name="things", schema=schema, mode="create_if_not_exists")

    await database.insert(table="things", records=[{"id": 1, "name": "one"}, {"id": 2, "name": "two"}])
    assert await database.search(table="things", where={"name": "two"}, select=["id"]) == [{"id": 2}]
    await database.update(table="things", where="id = 2", values={"name": "zwei"}, values_sql={"id": "id + 1"})
    await database.merge(table="things", on="id", records={"id": 3, "name": "drei"})
    assert await database.search(table="things", where={"id": 3}, select=["name"]) == [{"name": "drei"}]
    await database.delete(table="things", where="true")
    await database.optimize("things")
    assert await database.search(table="things") == []

    noise = random.Random(1)
    rows: list[dict[str, Any]] = [
        {"id": n, "name": f"thing {n}", "place": [noise.random() for _ in range(8)]} for n in range(1_000)
    ]
    await database.insert(table="things", records=rows)
    await database.create_vector_index(table="things", column="place")
    await database.create_scalar_index(table="things", column="id")
    await database.create_full_text_search_index(table="things", column="name", replace=True)
    listed = await database.list_indexes(table="things")
    assert sorted(column for index in listed for column in index["columns"]) == ["id", "name", "place"]
    found = await database.search(table="things", text="500", vector=rows[500]["place"], limit=1, select=["id"])
    assert found[0]["id"] == 500

    await database.add_columns(table="things", new_columns={"double": "id * 2"})
    assert (await database.search(table="things", where={"id": 7}))[0]["double"] == 14
    await database.drop_columns(table="things", columns=["double"])
    assert "double" not in (await database.search(table="things", limit=1))[0]


async def test_values_of_python(database: DatabaseClient) -> None:
    day, moment = date(2025, 1, 2), datetime(2025, 1, 2, 3, 4, 5)  # noqa: DTZ001 - what programs pass
    rows: list[dict[str, Any]] = [{"name": 'O\'Neil "é" \\', "day": day, "at": moment, "on": True, "none": None}]
    schema = {"name": TextDataType(), "day": DateDataType(), "at": TimestampDataType()}
    await database.create_table_from_data(name="plain", data=[{"on": True, "name": "x"}])
    await database.create_table_with_schema(name="typed", schema=schema)
    await database.add_columns(table="typed", new_columns={"on": "true", "none": "CAST(NULL AS STRING)"})
    await database.insert(table="typed", records=rows)
    expected = [rows[0] | {"day": "2025-01-02", "at": "2025-01-02T03:04:05"}]
    for where in (
        rows[0],
        {},
        None,
        {"day": [day, "2030-01-01"]},
        {"none": None, "on": True},
        {"name": ["x", rows[0]["name"]]},
    ):
        assert await database.search(table="typed", where=where) == expected
    nowhere: list[dict[str, Any]] = [{"name": []}, {"day": date(2025, 1, 3)}, {"on": False}, {"at": None}]
    for nothing in nowhere:
        assert await database.search(table="typed", where=nothing) == []


async def test_errors_have_their_classes(database: DatabaseClient) -> None:
    with pytest.raises(NotFoundError):
        await database.search(table="nope")
    await database.drop_table(name="nope", ignore_missing=True)
    await database.create_table_from_data(name="t", data=[{"x": 1}])
    with pytest.raises(AlreadyExistsError):
        await database.create_table_from_data(name="t", data=[{"x": 1}])
    with pytest.raises(InvalidStateError):
        await database.search(table="t", text="x")


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("id = 1", "id = 1"),
        ({}, ""),
        ({"id": 1, "name": "O'Neil"}, "`id` = 1 AND `name` = 'O''Neil'"),
        ({"a": None, "b": True, "c": 1.5}, "`a` IS NULL AND `b` = true AND `c` = 1.5"),
        ({"a.b": "x", "we`ird": 1}, "`a`.`b` = 'x' AND `we``ird` = 1"),
        ({"a": [1, 2]}, "`a` IN (1, 2)"),
        ({"a": ()}, "false"),
    ],
)
def test_filters_become_sql(where: Any, expected: str) -> None:
    assert sql_filter(where) == expected


def test_values_that_no_column_can_equal() -> None:
    with pytest.raises(InvalidRequestError):
        sql_filter({"a": {"b": 1}})


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30))
def test_texts_in_filters_are_only_ever_texts(text: str) -> None:
    condition = translate_filter(sql_filter({"name": text}))
    connection = sqlite3.connect(":memory:")  # any SQL engine will do to read it
    try:
        connection.execute("CREATE TABLE t (name)")
        connection.execute("INSERT INTO t VALUES (?), (?)", (text, text + "x"))
        assert connection.execute(f"SELECT name FROM t WHERE {condition}").fetchall() == [(text,)]
    finally:
        connection.close()


@pytest.mark.parametrize(
    "data_type",
    [
        IntDataType(),
        FloatDataType(),
        TextDataType(),
        DateDataType(),
        TimestampDataType(),
        VectorDataType(size=3, element_type=IntDataType()),
        VectorDataType(size=1536, element_type=FloatDataType()),
    ],
)
def test_data_types_survive_json(data_type: DataType) -> None:
    assert DataType.from_json(jsontext.loads(jsontext.dumps(data_type.to_json()))) == data_type


def test_json_of_data_types() -> None:
    assert IntDataType().to_json() == {"type": "int"}
    vector = VectorDataType(size=3, element_type=FloatDataType()).to_json()
    assert vector == {"type": "vector", "size": 3, "element_type": {"type": "float"}}
