"""Tables through the SDK (protocol 11)."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime
from typing import Any

import pytest

from meshagent.api.contracts.data_types import (
    DateDataType,
    FloatDataType,
    IntDataType,
    TextDataType,
    TimestampDataType,
    VectorDataType,
)
from meshagent.api.errors import AlreadyExistsError, NotFoundError
from tests.support.chatting import joined
from tests.support.server import TestServer

pytestmark = pytest.mark.usefixtures("loaded_engines")

PEOPLE = {"id": IntDataType(), "name": TextDataType(), "born": DateDataType(), "seen": TimestampDataType()}


async def test_rows_of_one_participant_are_found_changed_and_removed_by_another(server: TestServer) -> None:
    async with joined(server, "alice") as alice, joined(server, "bob") as bob:
        assert await alice.database.list_tables() == []
        await alice.database.create_table_with_schema(name="people", schema=PEOPLE)
        assert await bob.database.list_tables() == ["people"]
        with pytest.raises(AlreadyExistsError):
            await bob.database.create_table_with_schema(name="people", schema=PEOPLE)
        await bob.database.drop_table(name="people")
        with pytest.raises(NotFoundError):
            await alice.database.drop_table(name="people")
        await alice.database.drop_table(name="people", ignore_missing=True)

        await alice.database.create_table_with_schema(name="people", schema=PEOPLE)
        ann = {"id": 1, "name": "Ann O'Neil", "born": date(2000, 2, 29), "seen": datetime(2025, 1, 2, tzinfo=UTC)}
        await alice.database.insert(table="people", records=[ann, {"id": 2, "name": 'Bo "B"'}])
        [found] = await bob.database.search(table="people", where={"name": "Ann O'Neil"})
        assert (found["id"], found["born"]) == (1, "2000-02-29")
        assert datetime.fromisoformat(found["seen"]).replace(tzinfo=UTC) == ann["seen"]
        assert [row["id"] for row in await bob.database.search(table="people", where={"name": 'Bo "B"'})] == [2]

        await bob.database.update(table="people", where={"id": 2}, values={"name": "Bob"}, values_sql={"id": "id + 1"})
        await bob.database.merge(table="people", on="id", records=[{"id": 3, "name": "Bobby"}, {"id": 4}])
        await bob.database.delete(table="people", where="id = 1")
        rows = await alice.database.search(table="people", select=["id", "name"])
        assert sorted((row["id"], row["name"]) for row in rows) == [(3, "Bobby"), (4, None)]

        await alice.database.add_columns(table="people", new_columns={"twice": "id * 2"})
        assert sorted(row["twice"] for row in await bob.database.search(table="people")) == [6, 8]
        await bob.database.drop_columns(table="people", columns=["twice", "born"])
        [row] = await alice.database.search(table="people", where={"id": 3})
        assert set(row) == {"id", "name", "seen"}
        await alice.database.optimize("people")
        assert len(await bob.database.search(table="people")) == 2


async def test_a_thousand_rows_with_every_kind_of_index(server: TestServer) -> None:
    numbers = random.Random(7)
    rows: list[dict[str, Any]] = [
        {"id": number, "word": f"word{number % 100} text", "vector": [numbers.random() for _ in range(16)]}
        for number in range(1000)
    ]
    schema = {
        "id": IntDataType(),
        "word": TextDataType(),
        "vector": VectorDataType(size=16, element_type=FloatDataType()),
    }
    async with joined(server, "alice") as alice, joined(server, "bob") as bob:
        await alice.database.create_table_with_schema(name="rows", schema=schema, data=rows)
        await alice.database.create_vector_index(table="rows", column="vector")
        await alice.database.create_scalar_index(table="rows", column="id")
        await alice.database.create_full_text_search_index(table="rows", column="word")
        indexes = await bob.database.list_indexes(table="rows")
        assert sorted(index["columns"] for index in indexes) == [["id"], ["vector"], ["word"]]

        [nearest] = await bob.database.search(table="rows", vector=rows[500]["vector"], where="id >= 500", limit=1)
        assert nearest["id"] == 500
        worded = await bob.database.search(table="rows", text="word42", limit=100)
        assert sorted(row["id"] for row in worded) == list(range(42, 1000, 100))
        both = await bob.database.search(table="rows", text="word7", vector=rows[7]["vector"], limit=1)
        assert both[0]["id"] == 7
        page = await bob.database.search(table="rows", where="id < 20", limit=5, offset=15)
        assert [row["id"] for row in page] == [15, 16, 17, 18, 19]
        await alice.database.insert(table="rows", records={**rows[0], "id": 1000, "word": "newest"})
        await alice.database.optimize("rows")
        [newest] = await bob.database.search(table="rows", text="newest")
        assert newest["id"] == 1000
