"""Numbers that JSON lacks are refused where they would be stored, with the name of the column."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from meshagent.api import jsontext
from meshagent.api.contracts import database as api
from meshagent.api.errors import InvalidRequestError
from tests.support.database import CALLER, RoomDatabase, open_database


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[RoomDatabase]:
    async with open_database(tmp_path) as opened:
        await opened.ask(api.CREATE_TABLE, name="t", data=[{"id": 1, "n": 1.5, "v": [0.5, 1.5]}])
        yield opened


async def ask(database: RoomDatabase, name: str, text: str) -> Any:
    """Call an operation with the request as a text on the wire."""
    (served,) = [entry for entry in database.service.operations() if entry.operation.name == name]
    request = jsontext.decode(text.encode(), served.operation.request)
    return await served.handler(CALLER, request, b"")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
@pytest.mark.parametrize(
    ("name", "request_text", "column"),
    [
        (api.INSERT.name, '{"table": "t", "records": [{"id": 2, "n": 1}, {"id": 3, "n": %s}]}', "n"),
        (api.INSERT.name, '{"table": "t", "records": {"id": 2, "v": [1, %s]}}', "v"),
        (api.MERGE.name, '{"table": "t", "on": "id", "records": {"id": 1, "n": %s}}', "n"),
        (api.UPDATE.name, '{"table": "t", "where": "true", "values": {"n": %s}}', "n"),
        (api.CREATE_TABLE.name, '{"name": "u", "data": [{"a": %s}]}', "a"),
    ],
)
async def test_rows_with_numbers_that_json_lacks_are_refused_with_the_column(
    database: RoomDatabase, name: str, request_text: str, column: str, number: str
) -> None:
    with pytest.raises(InvalidRequestError, match=f"column '{column}': NaN, infinity"):
        await ask(database, name, request_text % number)
    assert await database.rows("t") == [{"id": 1, "n": 1.5, "v": [0.5, 1.5]}]
    assert (await database.ask(api.LIST_TABLES))["tables"] == ["t"]


async def test_typed_values_with_numbers_that_json_lacks_are_refused(database: RoomDatabase) -> None:
    for text in ("NaN", "1e999", '{"list": [1, Infinity]}'):
        with pytest.raises(InvalidRequestError, match="NaN, infinity"):
            await database.engine.update_typed("t", "true", [("n", text)])
    assert [row["n"] for row in await database.rows("t")] == [1.5]


async def test_other_texts_that_strict_json_refuses_are_taken_as_before(database: RoomDatabase) -> None:
    await ask(
        database, api.INSERT.name, '{"table": "t", "records": {"id": 2, "n": 1e308, "v": null}, "more": "\\ud800"}'
    )
    assert [row["n"] for row in await database.rows("t", where="id = 2")] == [1e308]
