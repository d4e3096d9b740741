"""The toolkits `dataset` and `database` at wire level, in Arrow (protocol 12)."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from meshagent.api.tokens.grants import DatasetGrant, TableGrant
from meshagent.api.tokens.scope import ApiScope
from tests.support.dataset_client import (
    PLACE,
    arrow,
    call,
    call_binary,
    download,
    failed,
    ipc,
    pulled,
    query,
    rows,
    start,
    upload,
)
from tests.support.invoke_client import Stream, invoke
from tests.support.server import TestServer
from tests.support.wire_client import WireClient, join

pytestmark = pytest.mark.usefixtures("loaded_engines")

HOME = os.path.expanduser("~")
AT = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC).replace(tzinfo=None)
PEOPLE = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("name", pa.string()),
        pa.field("at", pa.timestamp("us")),
        pa.field("raw", pa.binary()),
        pa.field("vector", pa.list_(pa.float32(), 2)),
    ]
)


def people(*ids: int, **columns: Any) -> pa.Table:
    return pa.table({"id": list(ids), "name": [f"n{number}" for number in ids], **columns})


async def make_people(client: WireClient, *ids: int, table: str = "people") -> None:
    await upload(client, "create_table", data=ipc(PEOPLE), name=table, mode="create", metadata=None)
    if ids:
        await upload(client, "insert", people(*ids), table=table)


async def test_a_table_from_beginning_to_end(server: TestServer) -> None:
    async with join(server) as alice:
        metadata = [{"key": "owner", "value": "alice"}]
        await upload(alice, "create_table", data=ipc(PEOPLE), name="people", mode="create", metadata=metadata)
        assert await call(alice, "list_tables") == {"type": "json", "json": {"tables": ["people"]}}
        inspected = await invoke(alice, "dataset", "inspect", {**PLACE, "table": "people", "version": None})
        assert inspected.header["headers"]["kind"] == "schema"
        assert set(inspected.header["headers"]) <= {"kind", "content_type"}
        schema = arrow(inspected.payload).schema
        assert schema.equals(PEOPLE)
        assert schema.metadata == {b"owner": b"alice"}
        assert (await download(alice, "search", table="people")).schema.equals(PEOPLE)

        await upload(alice, "insert", people(1, 2), people(3), table="people")
        await upload(
            alice, "merge", people(3, 4, 4, at=pa.array([None] * 3, pa.timestamp("us"))), table="people", on="id"
        )
        values = [
            {"column": "at", "value_json": json.dumps({"timestamp": "2025-01-02T03:04:05Z"})},
            {"column": "name", "value_json": json.dumps({"expression": "name || '!'"})},
            {"column": "raw", "value_json": json.dumps({"binary": "AP8="})},
            {"column": "vector", "value_json": json.dumps({"list": [1, 2.5]})},
        ]
        assert (await call(alice, "update", table="people", where='"id" = 2', values=values)) == {"type": "empty"}
        (second,) = await rows(alice, "people", where="raw = X'00ff'")
        assert second == {
            "id": 2,
            "name": "n2!",
            "at": AT,
            "raw": b"\x00\xff",
            "vector": [1.0, 2.5],
        }
        await call(alice, "delete", table="people", where="id = 1")
        assert sorted(row["id"] for row in await rows(alice, "people", select=["id"])) == [2, 3, 4]
        assert len(await rows(alice, "people", offset=1, limit=1)) == 1
        assert await rows(alice, "people", limit=0) == []
        assert (await call(alice, "count", table="people"))["json"] == {"count": 3}
        assert (await call(alice, "count", table="people", where="id > 2"))["json"] == {"count": 2}

        columns = [{"name": "doubled", "value_sql": "id * 2"}]
        assert await call(alice, "add_columns", table="people", columns=columns) == {"type": "empty"}
        added = await call_binary(alice, "add_columns", ipc(pa.schema([("note", pa.string())])), table="people")
        assert added.header == {"type": "empty"}
        assert (await rows(alice, "people", where="id = 4", select=["doubled", "note"])) == [
            {"doubled": 8, "note": None}
        ]
        assert (await call(alice, "drop_columns", table="people", columns=["note"]))["type"] != "error"
        assert (await call(alice, "rename_table", name="people", new_name="folk"))["type"] != "error"
        assert len(await rows(alice, "folk")) == 3
        assert (await call(alice, "count", table="people"))["code"] == 1003
        assert (await call(alice, "drop_table", name="folk", ignore_missing=False))["type"] != "error"
        assert (await call(alice, "drop_table", name="folk", ignore_missing=False))["code"] == 1003
        assert (await call(alice, "drop_table", name="folk", ignore_missing=True))["type"] != "error"


async def test_tables_are_made_of_typed_json(server: TestServer) -> None:
    async with join(server) as alice:
        stream = await Stream.open(alice, "dataset", "create_table")
        head = {"kind": "start", "name": "typed", "mode": "create", "metadata": None, **PLACE}
        await stream.send({"type": "json", "json": head})
        await stream.opened()
        await pulled(stream)
        cells = {
            "id": 1,
            "text": "t",
            "raw": {"binary": "AP8="},
            "key": {"uuid": "00000000-0000-0000-0000-000000000001"},
            "day": {"date": "2025-01-02"},
            "at": {"timestamp": "2025-01-02T03:04:05Z"},
            "numbers": {"list": [1.5, 2.5]},
            "inner": {"struct": {"a": 1}},
            "any": {"json": [1, None]},
        }
        row = {"columns": [{"name": name, "value": value} for name, value in cells.items()]}
        await stream.send({"type": "json", "json": {"kind": "rows", "rows": [row]}})
        await pulled(stream)
        await stream.close()
        await stream.closed()
        found = await download(alice, "search", table="typed")
        assert found.schema.field("key").type == pa.binary()
        (read,) = found.to_pylist()
        assert read["raw"] == b"\x00\xff"
        assert read["key"] == bytes(15) + b"\x01"
        assert read["at"] == AT
        assert str(read["day"]) == "2025-01-02"
        assert read["numbers"] == [1.5, 2.5]
        assert read["inner"] == {"a": 1}
        assert json.loads(read["any"]) == [1, None]


async def test_modes_of_creation(server: TestServer) -> None:
    async with join(server) as alice:
        await upload(alice, "create_table", people(1), name="people", mode="create")
        taken = await start(alice, "create_table", name="people", mode="create")
        await pulled(taken)
        await taken.binary(ipc(people(2)), kind="data")
        await pulled(taken)
        await taken.close()
        assert (await failed(taken))["code"] == 1004
        await upload(alice, "create_table", people(2), name="people", mode="create_if_not_exists")
        assert [row["id"] for row in await rows(alice, "people")] == [1]
        await upload(alice, "create_table", people(3), name="people", mode="overwrite")
        assert [row["id"] for row in await rows(alice, "people")] == [3]
        nothing = await start(alice, "create_table", name="empty", mode="create")
        await pulled(nothing)
        await nothing.close()
        assert (await failed(nothing))["code"] == 1002


async def test_uploads_that_end_early_store_nothing(server: TestServer) -> None:
    async with join(server, "alice") as alice:
        await make_people(alice, 1)
        uploads: dict[str, dict[str, Any]] = {
            "insert": {"table": "people"},
            "merge": {"table": "people", "on": "id"},
            "create_table": {"name": "half", "mode": "create"},
        }
        for tool, head in uploads.items():
            async with join(server, "bob") as bob:
                lost = await start(bob, tool, **head)
                await pulled(lost)
                await lost.binary(ipc(people(7, 8)), kind="data")
                await pulled(lost)
                bob.socket._response.close()  # the TCP connection ends without a close
            broken = await start(alice, tool, **head)
            await pulled(broken)
            await broken.binary(ipc(people(7)), kind="data")
            await pulled(broken)
            await broken.binary(ipc(people(8))[:-40], kind="data")
            assert (await failed(broken))["code"] == 1002
            given_up = await start(alice, tool, **head)
            await pulled(given_up)
            await given_up.binary(ipc(people(9)), kind="data")
            await pulled(given_up)
            await given_up.send({"type": "control", "method": "close", "status_code": 1011})
            assert (await failed(given_up))["code"] == 1002
        assert [row["id"] for row in await rows(alice, "people")] == [1]
        assert (await call(alice, "list_tables"))["json"] == {"tables": ["people"]}


async def test_a_reader_that_is_gone_holds_nothing(server: TestServer) -> None:
    async with join(server, "alice") as alice:
        await make_people(alice, *range(100))
        async with join(server, "bob") as bob:
            stream = await start(bob, "search", table="people")
            await stream.binary(kind="pull")
            await stream.next()
            answer = await call_binary(bob, "open_sql_query", query="SELECT id FROM people", tables=None)
            query_id = answer.header["headers"]["query_id"]
            bob.socket._response.close()  # the TCP connection ends without a close
        async with asyncio.timeout(10):
            optimized = (await call(alice, "optimize", table="people", config=None))["json"]
        assert set(optimized) == {"compaction", "optimized_indices", "cleanup"}
        stream = await start(alice, "read_sql_query", query_id=query_id)
        assert (await failed(stream))["code"] == 1003
        assert (await call(alice, "drop_table", name="people", ignore_missing=False))["type"] != "error"


async def test_rows_that_do_not_fit_are_refused_as_a_whole(server: TestServer) -> None:
    async with join(server) as alice:
        await make_people(alice, 1)
        for bad in (
            pa.table({"id": [2], "other": [1]}),
            pa.table({"id": ["two"]}),
            pa.table({"vector": [[1.0, 2.0, 3.0]]}),
        ):
            stream = await start(alice, "insert", table="people")
            await pulled(stream)
            await stream.binary(ipc(bad), kind="data")
            assert (await failed(stream))["code"] == 1002
        unkeyed = await start(alice, "merge", table="people", on="id")
        await pulled(unkeyed)
        await unkeyed.binary(ipc(pa.table({"name": ["x"]})), kind="data")
        await pulled(unkeyed)
        await unkeyed.close()
        assert (await failed(unkeyed))["code"] == 1002
        missing = await start(alice, "insert", table="nobody")
        assert (await failed(missing))["code"] == 1003
        assert len(await rows(alice, "people")) == 1


async def test_indexes_and_ranked_searches(server: TestServer) -> None:
    async with join(server) as alice:
        vectors = pa.array([[float(number), 1.0] for number in range(20)], pa.list_(pa.float32(), 2))
        await make_people(alice)
        await upload(alice, "insert", people(*range(20), vector=vectors), table="people")
        for config in (
            {"column": "id", "index_type": "BITMAP"},
            {"column": "name", "index_type": "INVERTED", "with_position": True, "name": "words"},
        ):
            assert (await call(alice, "create_index", table="people", config=config))["type"] != "error"
        listed = (await call(alice, "list_indexes", table="people", version=None))["json"]["indexes"]
        assert [(index["name"], index["columns"], index["fields"]) for index in listed] == [
            ("id_idx", ["id"], [0]),
            ("words", ["name"], [1]),
        ]
        for index in listed:
            assert set(index) == {
                *("name", "columns", "type", "fields", "type_url", "num_rows_indexed", "num_segments"),
                *("total_size_bytes", "details_json", "statistics_json"),
            }
            assert isinstance(json.loads(index["statistics_json"]), dict)
        nearest = await rows(alice, "people", vector=[7.1, 1.0], limit=2, select=["id"])
        assert [row["id"] for row in nearest] == [7, 8]
        assert set(nearest[0]) == {"id", "_distance"}
        assert [row["id"] for row in await rows(alice, "people", text="n5", text_columns=["name"])] == [5]
        assert (await call(alice, "count", table="people", text="n5"))["json"] == {"count": 1}
        unknown = {"column": "id", "index_type": "RTREE"}
        assert (await call(alice, "create_index", table="people", config=unknown))["code"] == 1007
        assert (await call(alice, "drop_index", table="people", name="words"))["type"] != "error"
        assert (await call(alice, "drop_index", table="people", name="words"))["code"] == 1003


async def test_many_rows_come_in_pieces(server: TestServer) -> None:
    async with join(server) as alice:
        big = pa.table({"id": range(50_000), "text": ["x" * 20] * 50_000})
        await upload(alice, "create_table", big, name="big", mode="create")
        stream = await start(alice, "search", table="big")
        found = 0
        pieces = 0
        while True:
            await stream.binary(kind="pull")
            chunk, payload = await stream.next()
            if chunk["type"] == "control":
                break
            assert len(payload) < 512 * 1024
            found += arrow(payload).num_rows
            pieces += 1
        assert found == 50_000
        assert pieces > 3


async def test_sql_queries_with_parameters(server: TestServer) -> None:
    async with join(server) as alice:
        assert (await query(alice, "SELECT 1 AS one")).to_pylist() == [{"one": 1}]
        await make_people(alice, *range(10))
        parameters = pa.table({"name": ["n3"], "least": [8]})
        text = "SELECT p.id, name FROM p WHERE name = $name OR id > $least ORDER BY id"
        found = await query(
            alice, text, parameters, tables=[{"name": "people", "alias": "p", **PLACE, "version": None}]
        )
        assert found.to_pylist() == [{"id": 3, "name": "n3"}, {"id": 9, "name": "n9"}]
        by_position = await query(
            alice, "SELECT count(*) AS n FROM people WHERE id >= ? AND id < ?", pa.table({"a": [2], "b": [5]})
        )
        assert by_position.to_pylist() == [{"n": 3}]
        joined = "SELECT count(*) AS n FROM people a JOIN people b ON a.id = b.id + 1 WHERE a.name <> 'n1'"
        assert (await query(alice, joined)).to_pylist() == [{"n": 8}]
        assert (await query(alice, "SELECT vector, raw FROM people WHERE false")).schema.names == ["vector", "raw"]

        opened = await call_binary(alice, "execute_sql", query="SELECT * FROM people", tables=[])
        query_id = opened.header["headers"]["query_id"]
        assert await call(alice, "close_sql_query", query_id=query_id) == {"type": "empty"}
        assert (await call(alice, "cancel_sql_query", query_id=query_id))["json"] == {"status": "not_cancellable"}
        assert (await failed(await start(alice, "read_sql_query", query_id=query_id)))["code"] == 1003


async def test_sql_statements_change_rows(server: TestServer) -> None:
    async with join(server) as alice:
        await make_people(alice, 1, 2, 3)

        async def run(text: str, parameters: pa.Table | None = None, tool: str = "execute_sql_statement") -> Any:
            data = b"" if parameters is None else ipc(parameters)
            tables = [{"name": "people", "alias": "folk", **PLACE}]
            answer = await call_binary(alice, tool, data, query=text, tables=tables)
            return answer.header.get("json", answer.header)

        assert await run("INSERT INTO folk (name, id) VALUES ('x', 4), ($who, 5)", pa.table({"who": ["it's"]})) == {
            "rows_affected": 2
        }
        assert await run('INSERT INTO people SELECT id + 10, name, "at", raw, vector FROM folk WHERE id < 3;') == {
            "rows_affected": 2
        }
        assert await run(
            "UPDATE people SET name = $1, \"at\" = timestamp '2025-01-02 00:00:00' "
            "WHERE id > 10 AND name IN ('n1', 'n2')",
            pa.table({"a": ["it's"]}),
            "execute_sql",
        ) == {"kind": "statement", "rows_affected": 2}
        assert await run("DELETE FROM folk WHERE name = ? OR id = 3", pa.table({"a": ["x"]})) == {"rows_affected": 2}
        assert sorted((row["id"], row["name"]) for row in await rows(alice, "people", select=["id", "name"])) == [
            (1, "n1"),
            (2, "n2"),
            (5, "it's"),
            (11, "it's"),
            (12, "it's"),
        ]
        assert (await run("INSERT INTO people (id) SELECT id, name FROM people"))["code"] == 1002
        assert (await run("INSERT INTO people (id) VALUES ('no number')"))["code"] == 1002
        assert (await run("SELECT 1"))["code"] == 1002
        assert (await run("DELETE FROM people USING other WHERE true"))["code"] == 1007
        assert (await run("CREATE TABLE t AS SELECT 1"))["code"] == 1007
        assert (await run("DELETE FROM people"))["rows_affected"] == 5


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM query('SELECT 1')",
        "SELECT E'\\'', current_setting('secret_directory') --'",
        "SELECT $$'$$, current_setting('secret_directory') --'",
        "SELECT /* /* */ ' */ current_setting('secret_directory') --'",
        "SELECT 1; SELECT 2",
        "",
        "COPY (SELECT 1) TO '/tmp/out.csv'",
        "ATTACH '/tmp/a.db'",
        "INSTALL httpfs",
        "SET memory_limit = '100GB'",
        "SELECT " + "+".join(["1"] * 1_100),  # DuckDB refuses more than 1,000 levels
        "SELECT nothing FROM people",
    ],
)
async def test_sql_stays_in_its_room(server: TestServer, text: str) -> None:
    async with join(server) as alice:
        await make_people(alice)
        answer = await call_binary(alice, "execute_sql", query=text, tables=[])
        assert answer.header["type"] == "error", answer.header
        assert answer.header["code"] in (1002, 1003, 1007)
        assert HOME not in answer.header["text"]


async def test_what_this_server_lacks_is_said(server: TestServer) -> None:
    async with join(server) as alice:
        await make_people(alice)
        for tool in ("list_versions", "restore", "stats", "list_branches", "create_branch", "delete_branch"):
            answer = await call(alice, tool, table="people")
            assert (answer["type"], answer["code"]) == ("error", 1007)
            assert tool in answer["text"]
        watch = await Stream.open(alice, "dataset", "watch_table")
        assert (await alice.answer(watch.request)).header["code"] == 1007
        elsewhere: list[dict[str, Any]] = [{"namespace": ["a"]}, {"branch": "other"}, {"version": 3}]
        for place in elsewhere:
            assert (await call(alice, "count", table="people", **place))["code"] == 1007
            assert (await failed(await start(alice, "search", table="people", **place)))["code"] == 1007
        here: list[dict[str, Any]] = [{"namespace": []}, {"branch": "main"}]
        for place in here:
            assert (await call(alice, "count", table="people", **place))["json"] == {"count": 0}
        tools = (await alice.ok("room.list_toolkits", {}))["tools"]["dataset"]["tools"]
        assert len(tools) == 23
        assert "json" in tools["count"]["input_spec"]["types"]
        assert tools["insert"]["input_spec"]["stream"]


async def test_every_call_needs_its_grant(server: TestServer) -> None:
    grants = [
        TableGrant(name="people", read=True, write=False, alter=False),
        TableGrant(name="log", read=False, write=True, alter=False),
    ]
    scope = ApiScope(dataset=DatasetGrant(tables=grants, list_tables=False))
    async with join(server, "alice") as alice, join(server, token=server.token("bob", scope=scope)) as bob:
        await make_people(alice, 1)
        await make_people(alice, table="log")
        assert (await call(bob, "count", table="people"))["json"] == {"count": 1}
        assert len(await rows(bob, "people")) == 1
        assert (await query(bob, "SELECT id FROM people")).to_pylist() == [{"id": 1}]
        await upload(bob, "insert", people(1), table="log")
        refused = [
            await call(bob, "list_tables"),
            await call(bob, "count", table="log"),
            await call(bob, "inspect", table="log"),
            await call(bob, "update", table="people", where="true", values=[]),
            await call(bob, "delete", table="people", where="true"),
            await call(bob, "drop_table", name="log"),
            await call(bob, "rename_table", name="log", new_name="people"),
            await call(bob, "drop_columns", table="log", columns=["id"]),
            await call(bob, "add_columns", table="log", columns=[]),
            await call(bob, "create_index", table="log", config={}),
            await call(bob, "drop_index", table="log", name="i"),
            await call(bob, "list_indexes", table="log"),
            await call(bob, "optimize", table="people"),
        ]
        texts = (
            "SELECT * FROM log",
            "SELECT * FROM people, log",
            "WITH w AS (SELECT * FROM log) SELECT * FROM w",
            "INSERT INTO people (id) VALUES (1)",
            "INSERT INTO log SELECT * FROM log",
            "UPDATE people SET id = 1",
            "DELETE FROM people",
        )
        refused += [(await call_binary(bob, "execute_sql", query=text, tables=[])).header for text in texts]
        aliased = [{"name": "log", "alias": "people"}]
        refused.append((await call_binary(bob, "execute_sql", query="SELECT * FROM people", tables=aliased)).header)
        streams: dict[str, dict[str, Any]] = {
            "search": {"table": "log"},
            "insert": {"table": "people"},
            "merge": {"table": "people", "on": "id"},
            "create_table": {"name": "new", "mode": "create"},
        }
        refused += [await failed(await start(bob, tool, **head)) for tool, head in streams.items()]
        assert [(answer["type"], answer.get("code")) for answer in refused] == [("error", 1001)] * len(refused)
        assert (await call(alice, "count", table="log"))["json"] == {"count": 1}


async def test_no_dataset_grant_no_sql(server: TestServer) -> None:
    async with join(server, token=server.token("eve", scope=ApiScope())) as eve:
        assert (await call_binary(eve, "execute_sql", query="SELECT 1", tables=[])).header["code"] == 1001
        stream = await Stream.open(eve, "dataset", "search")
        assert (await eve.answer(stream.request)).header["code"] == 1001


async def test_open_queries_are_bounded(server: TestServer) -> None:
    async with join(server) as alice:
        await make_people(alice, 1)
        answers = [
            await call_binary(alice, "open_sql_query", query="SELECT * FROM people", tables=[]) for _ in range(17)
        ]
        assert [answer.header["type"] for answer in answers] == ["binary"] * 16 + ["error"]
        for answer in answers[:16]:
            await call(alice, "close_sql_query", query_id=answer.header["headers"]["query_id"])
        assert (await query(alice, "SELECT id FROM people")).num_rows == 1


async def test_the_toolkit_database_speaks_json(server: TestServer) -> None:
    async with join(server) as alice:
        create = {"name": "t", "schema": {"id": {"type": "int"}}, "data": None, "mode": "create"}
        assert (await invoke(alice, "database", "create_table", create)).header["type"] == "json"
        await invoke(alice, "database", "insert", {"table": "t", "records": [{"id": 1}]})
        found = await invoke(alice, "database", "search", {"table": "t", "where": "id = 1"})
        assert found.header["json"] == {"results": [{"id": 1}]}
        assert (await rows(alice, "t")) == [{"id": 1}]
