"""Tables at wire level, as clients of the 0.5 generation ask for them (protocol 11)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshagent.api.tokens.grants import DatasetGrant, TableGrant
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.stores.tables.filters import MAX_DEPTH
from tests.support.server import TestServer, rooms_ended
from tests.support.wire_client import WireClient, join

pytestmark = pytest.mark.usefixtures("loaded_engines")

SCHEMA = {"id": {"type": "int"}, "name": {"type": "text"}, "at": {"type": "timestamp"}}


async def search(client: WireClient, where: str | None, **more: Any) -> list[dict[str, Any]]:
    """As the 0.5 client does: `where` and `text` are there as null, the others are absent."""
    answer = await client.ok("database.search", {"table": "people", "where": where, "text": None, **more})
    results: list[dict[str, Any]] = answer["results"]
    return results


async def test_a_table_from_beginning_to_end(server: TestServer) -> None:
    async with join(server, "alice") as alice, join(server, "bob") as bob:
        assert await alice.ok("database.list_tables") == {"tables": []}
        made = await alice.ok(
            "database.create_table", {"name": "people", "data": None, "schema": SCHEMA, "mode": "create"}
        )
        assert made == {"table": "people", "status": "ok"}
        rows = [{"id": 1, "name": 'Ann "é"', "at": "2025-01-02 03:04:05"}, {"id": 2, "name": None}]
        await bob.ok("database.insert", {"table": "people", "records": rows})
        assert await search(alice, 'id = 1 AND name = "Ann \\"\\u00e9\\""') == [
            {"id": 1, "name": 'Ann "é"', "at": "2025-01-02T03:04:05"}
        ]
        assert await search(alice, "name = null", select=["id"]) == [{"id": 2}]
        update = {"table": "people", "where": "id = 2", "values": {"name": "Bo"}, "values_sql": {"id": "id + 1"}}
        await alice.ok("database.update", update)
        await alice.ok("database.merge", {"table": "people", "on": "id", "records": {"id": 4}})
        await alice.ok("database.delete", {"table": "people", "where": "id = 1"})
        assert [row["id"] for row in await search(bob, "")] == [3, 4]
        index = {"table": "people", "column": "id", "replace": None}
        await alice.ok("database.create_scalar_index", index)
        listed = await alice.ok("database.list_indexes", {"table": "people"})
        assert [entry["columns"] for entry in listed["indexes"]] == [["id"]]
        assert "vectors" in await alice.error("database.create_vector_index", {**index, "column": "at"})
        await alice.ok("database.optimize", {"table": "people"})
        await alice.ok("database.add_columns", {"table": "people", "new_columns": {"word": "'hello'"}})
        await alice.ok("database.drop_columns", {"table": "people", "columns": ["at"]})
        assert (await search(alice, None, limit=1))[0] == {"id": 3, "name": "Bo", "word": "hello"}
        await alice.ok("database.drop_table", {"name": "people", "ignore_missing": False})
        assert "people" in await alice.error("database.drop_table", {"name": "people", "ignore_missing": False})
        await alice.ok("database.drop_table", {"name": "people", "ignoreMissing": True})


async def test_rows_outlive_the_room(server: TestServer) -> None:
    async with join(server) as alice:
        await alice.ok("database.create_table", {"name": "people", "schema": SCHEMA, "data": None, "mode": "create"})
        requests = [
            await alice.send("database.insert", {"table": "people", "records": [{"id": number}]})
            for number in range(50)
        ]
        await asyncio.gather(*(alice.answer(request) for request in requests))
    await rooms_ended(server)
    async with join(server) as alice:
        assert sorted(row["id"] for row in await search(alice, None)) == list(range(50))
        assert len(await search(alice, None, limit=3)) == 3


async def test_a_token_may_limit_tables(server: TestServer) -> None:
    tables = [TableGrant(name="people", read=True, write=True), TableGrant(name="mine", read=True, alter=True)]
    scope = ApiScope(dataset=DatasetGrant(tables=tables, list_tables=False))
    token = server.token("bob", scope=scope)
    async with join(server, "alice") as alice, join(server, "bob", token=token) as bob:
        for name in ("people", "secret"):
            await alice.ok("database.create_table", {"name": name, "schema": SCHEMA, "data": None, "mode": "create"})
        await bob.ok("database.insert", {"table": "people", "records": {"id": 1}})
        await bob.ok("database.create_table", {"name": "mine", "schema": SCHEMA, "data": None, "mode": "create"})
        for operation, request in (
            ("database.list_tables", {}),
            ("database.drop_table", {"name": "people"}),
            ("database.insert", {"table": "mine", "records": {"id": 1}}),
            ("database.search", {"table": "secret"}),
            ("database.create_table", {"name": "other", "schema": SCHEMA}),
            ("database.create_scalar_index", {"table": "people", "column": "id"}),
        ):
            await bob.error(operation, request)
        assert [row["id"] for row in await search(bob, None)] == [1]


async def test_errors_stand_on_their_own(server: TestServer) -> None:
    async with join(server) as alice:
        assert await alice.error("database.search", {"table": "nope", "where": None}) == "table 'nope' not found"
        await alice.error("database.create_table", {"name": "../x", "schema": SCHEMA})
        await alice.error("database.create_table", {"name": "t", "schema": SCHEMA, "mode": "sideways"})
        await alice.error("database.insert", {"table": "t", "records": "x"})
        await alice.ok("database.create_table", {"name": "t", "schema": SCHEMA})
        for where in ("nope = 1", "id = = 1", "name = 'x", "id = 1" + "+1" * MAX_DEPTH):
            text = await alice.error("database.search", {"table": "t", "where": where})
            assert ".rs" not in text
            assert str(server.config.data_dir) not in text
