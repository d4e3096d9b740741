"""What the port of tables promises, tested with the engines in this process and in processes of their own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from meshagent.api.errors import (
    AlreadyExistsError,
    InvalidRequestError,
    InvalidStateError,
    LimitExceededError,
    NotFoundError,
    PermissionDeniedError,
    RequestTimeoutError,
)
from meshagent.server.engines.local import LocalTableStore
from meshagent.server.stores.tables.settings import DatabaseLimits
from meshagent.server.stores.tables.table_engine import TableEngine
from meshagent.server.stores.tables.table_store import RoomTableStore, TableSearch, TableStore, UploadStart
from tests.support.engines import load_engines, process_store

pytestmark = pytest.mark.timeout(180)  # the engines are loaded in both ways

LIMITS = DatabaseLimits(max_tables=3, max_result_bytes=200_000, sql_timeout=0.5)
ALL = TableSearch()
ENDLESS = "SELECT count(*) FROM range(300000) a(i), range(300000) b(j) WHERE i * j % 7 = 3"


@pytest.fixture(scope="session", autouse=True)
def loaded_engines(tmp_path_factory: pytest.TempPathFactory) -> None:
    load_engines(tmp_path_factory.mktemp("engines"))


@pytest.fixture(params=["in this process", "in processes"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[TableStore]:
    if request.param == "in this process":
        yield LocalTableStore(TableEngine(tmp_path / "tables", durability="process", limits=LIMITS))
        return
    async with process_store(tmp_path / "tables", limits=LIMITS) as processes:
        yield processes


@pytest.fixture
async def room(store: TableStore) -> AsyncIterator[RoomTableStore]:
    opened = store.room("project", "room")
    yield opened
    await opened.close()


async def rows(room: RoomTableStore, table: str = "t", **search: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(await room.search(table, TableSearch(**search)))
    return found


async def pieces(room: RoomTableStore, stream: int) -> pa.Table:
    """All rows of a stream."""
    tables = []
    while (piece := await room.next_piece(stream)) is not None:
        tables.append(pa.ipc.open_stream(piece).read_all())
    await room.close_stream(stream)
    return pa.concat_tables(tables)


def arrow(**columns: Any) -> bytes:
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


async def test_rows_go_in_and_out_as_json(room: RoomTableStore) -> None:
    assert await room.table_names() == []
    await room.create_table("t", b'{"id": 1, "name": "Ann"}', b"null", "create")
    assert await room.insert("t", b'[{"id": 2}, {"id": 3, "name": "\xc3\x9c"}]') == 2
    assert await room.update("t", "id = 2", b'{"name": "Bob"}', {}) == 1
    assert await room.update_typed("t", "id = 1", [("name", '{"expression": "upper(name)"}')]) == 1
    await room.merge("t", "id", b'[{"id": 3, "name": "Cid"}, {"id": 4, "name": "Dan"}]')
    assert await room.delete("t", "id = 4", False) == 1
    found = sorted(await rows(room), key=lambda row: int(row["id"]))
    assert found == [{"id": 1, "name": "ANN"}, {"id": 2, "name": "Bob"}, {"id": 3, "name": "Cid"}]
    assert await rows(room, where="id > 1", select=["name"], limit=1, offset=1) == [{"name": "Cid"}]
    assert await room.count("t", TableSearch(where="id > 1")) == 2
    assert await room.table_names() == ["t"]


async def test_writes_of_a_room_keep_their_order(room: RoomTableStore) -> None:
    await room.create_table("t", b"null", b'{"id": {"type": "int"}, "text": {"type": "text"}}', "create")
    long = json.dumps([{"id": 0, "text": "x" * 1000}] * 1000).encode()
    writes = [room.insert("t", long), *(room.insert("t", b'{"id": %d}' % n) for n in range(1, 20))]
    writes.append(room.update("t", "true", b'{"text": "all"}', {}))
    outcomes = await asyncio.gather(*writes)
    assert outcomes[-1] == 1019
    assert [row["id"] for row in await rows(room, where="id > 0")] == list(range(1, 20))


async def test_tables_and_columns_change(room: RoomTableStore) -> None:
    await room.create_table("t", b'{"id": 1}', b"null", "create")
    await room.add_columns("t", {"twice": "id * 2"}, False)
    await room.add_empty_columns("t", arrow(more=pa.array([], pa.string())))
    assert await rows(room) == [{"id": 1, "twice": 2, "more": None}]
    await room.drop_columns("t", ["more"])
    await room.rename_table("t", "u")
    await room.create_index("u", "scalar", "id", None)
    await room.create_configured_index("u", b'{"column": "twice", "index_type": "BTREE"}')
    assert [index.columns for index in await room.list_indexes("u")] == [["id"], ["twice"]]
    described = await room.describe_indexes("u")
    await room.drop_index("u", described[0].name)
    assert len(await room.list_indexes("u")) == 1
    assert (await room.optimize("u")).versions_removed > 0
    assert pa.ipc.open_stream(await room.schema("u")).schema.names == ["id", "twice"]
    assert await room.drop_table("u")
    assert not await room.drop_table("u")


async def test_a_limit_that_no_engine_can_take_is_refused(room: RoomTableStore) -> None:
    await room.create_table("t", b'{"id": 1}', b"null", "create")
    for search in (TableSearch(limit=10**30), TableSearch(offset=10**30), TableSearch(limit=-1)):
        with pytest.raises(InvalidRequestError):
            await room.search("t", search)


async def test_a_table_cannot_take_its_own_name(room: RoomTableStore) -> None:
    with pytest.raises(NotFoundError):
        await room.rename_table("t", "t")
    await room.create_table("t", b'{"id": 1}', b"null", "create")
    with pytest.raises(AlreadyExistsError):
        await room.rename_table("t", "t")
    await room.rename_table("t", "u")
    assert await room.count("u", TableSearch()) == 1


async def test_searches_are_read_piece_by_piece(room: RoomTableStore) -> None:
    await room.create_table("t", json.dumps([{"id": n} for n in range(100)]).encode(), b"null", "create")
    stream = await room.open_search("t", TableSearch(where="id >= 40"))
    assert (await pieces(room, stream)).column("id").to_pylist() == list(range(40, 100))
    with pytest.raises(NotFoundError):
        await room.next_piece(stream + 1)


async def test_uploads_come_whole_or_not_at_all(room: RoomTableStore) -> None:
    upload = await room.open_upload(UploadStart(kind="create", table="t", metadata=[("a", "b")]))
    await room.upload(upload, arrow(id=[1, 2], name=["x", "y"]))
    assert await room.table_names() == []
    await room.finish_upload(upload)
    await room.discard_upload(upload)
    assert pa.ipc.open_stream(await room.schema("t")).schema.metadata == {b"a": b"b"}
    given_up = await room.open_upload(UploadStart(kind="insert", table="t"))
    await room.upload(given_up, arrow(id=[7]))
    await room.discard_upload(given_up)
    merge = await room.open_upload(UploadStart(kind="merge", table="t", on=["id"]))
    await room.upload_rows(merge, b'[{"columns": [{"name": "id", "value": 2}, {"name": "name", "value": "z"}]}]')
    await room.finish_upload(merge)
    found = await rows(room)
    assert sorted(found, key=lambda row: int(row["id"])) == [{"id": 1, "name": "x"}, {"id": 2, "name": "z"}]


async def test_sql_reads_what_it_may_and_changes_rows(room: RoomTableStore) -> None:
    await room.create_table("t", b'[{"id": 1}, {"id": 2}]', b"null", "create")
    parsed = await room.parse_sql("INSERT INTO t SELECT id + 10 FROM other", b"")
    assert (parsed.is_query, parsed.reads, parsed.changes) == (False, ["other"], "t")
    assert await room.run_statement("me", "INSERT INTO t SELECT id + 10 FROM other", b"", {"t": "t", "other": "t"}) == 2
    assert await room.run_statement("me", "DELETE FROM t WHERE id = 12", b"", {"t": "t"}) == 1
    assert await room.run_statement("me", "UPDATE t SET id = 3 WHERE id = $n", arrow(n=[11]), {"t": "t"}) == 1
    query = await room.open_query("me", "SELECT sum(id) AS s FROM t", b"", {"t": "t"})
    assert pa.ipc.open_stream(query.schema).schema.names == ["s"]
    with pytest.raises(NotFoundError):
        await room.open_query_rows("somebody", query.query_id)
    assert (await pieces(room, await room.open_query_rows("me", query.query_id))).to_pylist() == [{"s": 6}]
    with pytest.raises(PermissionDeniedError):
        await room.open_query("me", "SELECT * FROM t", b"", {})
    left = await room.open_query("me", "SELECT 1", b"", {})
    room.owner_left("me")
    assert not await room.close_query("me", left.query_id)
    closed = await room.open_query("me", "SELECT 1", b"", {})
    assert await room.close_query("me", closed.query_id)


async def test_errors_say_what_is_wrong(room: RoomTableStore) -> None:
    with pytest.raises(NotFoundError, match="'t'"):
        await room.search("t", ALL)
    await room.create_table("t", b'{"id": 1, "text": "x"}', b"null", "create")
    with pytest.raises(AlreadyExistsError):
        await room.create_table("t", b'{"id": 1}', b"null", "create")
    with pytest.raises(InvalidRequestError, match="'nothing'"):
        await room.insert("t", b'{"nothing": 1}')
    with pytest.raises(InvalidRequestError, match="records"):
        await room.insert("t", b"7")
    with pytest.raises(InvalidStateError):
        await room.search("t", TableSearch(text="x"))
    for name in ("u", "v"):
        await room.create_table(name, b'{"id": 1}', b"null", "create")
    with pytest.raises(LimitExceededError) as too_many:
        await room.create_table("w", b'{"id": 1}', b"null", "create")
    assert too_many.value.limit == 3
    await room.insert("t", json.dumps([{"text": "x" * 1000}] * 300).encode())
    with pytest.raises(LimitExceededError):
        await room.search("t", ALL)
    with pytest.raises(RequestTimeoutError):
        await room.open_query("me", ENDLESS, b"", {})


async def test_a_caller_who_leaves_disturbs_nobody(room: RoomTableStore) -> None:
    await room.create_table("t", b'{"id": 1}', b"null", "create")
    calls: list[asyncio.Future[Any]] = [asyncio.ensure_future(room.search("t", ALL)) for _ in range(20)]
    calls += [asyncio.ensure_future(room.insert("t", b'{"id": 2}')) for _ in range(20)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert not [outcome for outcome in outcomes[1::2] if isinstance(outcome, BaseException)]
    assert 10 <= len(await rows(room, where="id = 2")) <= 20


async def test_rooms_are_apart_and_outlive_their_runs(store: TableStore) -> None:
    one, other = store.room("p", "one"), store.room("p", "other")
    await one.create_table("t", b'{"id": 1}', b"null", "create")
    await other.create_table("t", b'{"id": 2}', b"null", "create")
    await one.close()
    with pytest.raises(InvalidStateError):
        await one.search("t", ALL)
    again = store.room("p", "one")
    assert await rows(again) == [{"id": 1}]
    await again.close()
    await store.delete_room("p", "one")
    await store.delete_room("p", "never")
    empty = store.room("p", "one")
    assert await empty.table_names() == []
    assert await rows(other) == [{"id": 2}]
    await empty.close()
    await other.close()
