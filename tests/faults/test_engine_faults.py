"""Engine processes that are killed, stall, or take more than they may: acknowledged rows stay, and others go on."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from pathlib import Path

import pytest

from meshagent.api.errors import LimitExceededError, RequestTimeoutError
from meshagent.server.engines.connection import EngineConnection
from meshagent.server.engines.errors import EngineEndedError, OutcomeUnknownError
from meshagent.server.engines.store import ProcessTableStore
from meshagent.server.stores.tables.settings import DatabaseLimits, MaintenanceSettings
from meshagent.server.stores.tables.table_store import RoomTableStore, TableSearch, UploadStart
from tests.support.engines import engine_pid, load_engines, process_store, until

pytestmark = [pytest.mark.timeout(180)]

MIB = 1024 * 1024
ENDLESS = "SELECT count(*) FROM range(300000) a(i), range(300000) b(j) WHERE i * j % 7 = 3"
"""Harmless, and would take minutes."""
PATIENT = DatabaseLimits(sql_timeout=600.0, sql_memory_bytes=4096 * MIB)
"""The SQL engine's own limits are out of reach: the process's count."""


@pytest.fixture(scope="session", autouse=True)
def loaded_engines(tmp_path_factory: pytest.TempPathFactory) -> None:
    load_engines(tmp_path_factory.mktemp("engines"))


async def numbers(room: RoomTableStore) -> list[int]:
    return [row["id"] for row in json.loads(await room.search("t", TableSearch()))]


async def with_table(store: ProcessTableStore, name: str = "room") -> RoomTableStore:
    room = store.room("p", name)
    await room.create_table("t", b'{"id": 0}', b"null", "create")
    return room


def rooms_of_two_processes(store: ProcessTableStore) -> tuple[str, str]:
    names = [f"room{number}" for number in range(100)]
    other = next(name for name in names if store.slot(f"p/{name}") is not store.slot(f"p/{names[0]}"))
    return names[0], other


class Writer:
    """Inserts numbers one after the other, and books what was acknowledged."""

    def __init__(self, room: RoomTableStore) -> None:
        self._room = room
        self.stored: list[int] = [0]
        self.unknown: set[int] = set()
        self.acknowledged = asyncio.Event()
        self.task = asyncio.ensure_future(self._write())

    async def _write(self) -> None:
        number = 0
        while True:
            number += 1
            try:
                await self._room.insert("t", b'{"id": %d}' % number)
            except OutcomeUnknownError:
                self.unknown.add(number)
            else:
                self.stored.append(number)
                self.acknowledged.set()

    async def next(self) -> None:
        """Wait until a write that has not been acknowledged yet is."""
        self.acknowledged.clear()
        await self.acknowledged.wait()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])

    async def check(self) -> None:
        """Each acknowledged row is there once, in order; of the others only those without an answer may be."""
        stored, unknown = list(self.stored), set(self.unknown)
        found = await numbers(self._room)
        assert len(set(found)) == len(found)
        assert [number for number in found if number in set(stored)] == stored
        later = max(stored[-1], *unknown, 0)
        assert {number for number in found if number <= later} - set(stored) <= unknown


@pytest.mark.slow
async def test_kills_at_random_moments_lose_nothing_and_leave_others_alone(tmp_path: Path) -> None:
    chance = random.Random(7)
    maintenance = MaintenanceSettings(after_writes=10)
    async with process_store(tmp_path, processes=2, maintenance=maintenance) as store:
        name, other_name = rooms_of_two_processes(store)
        room, other = await with_table(store, name), await with_table(store, other_name)
        writer, undisturbed = Writer(room), Writer(other)
        for _ in range(12):
            await writer.next()
            await asyncio.sleep(chance.random() * 0.05)
            os.kill(engine_pid(store, f"p/{name}"), signal.SIGKILL)
            await writer.next()
            await writer.check()
        await writer.stop()
        await undisturbed.stop()
        await writer.check()
        assert not undisturbed.unknown
        await undisturbed.check()
        assert len(undisturbed.stored) > 12
        assert store.figures().losses == {"crash": 12}
        await room.optimize("t")


async def test_reads_are_called_again_after_a_kill(tmp_path: Path) -> None:
    async with process_store(tmp_path) as store:
        room = await with_table(store)
        for _ in range(5):
            reads = [asyncio.ensure_future(numbers(room)) for _ in range(20)]
            await asyncio.sleep(0)
            os.kill(engine_pid(store, "p/room"), signal.SIGKILL)
            assert await asyncio.gather(*reads) == [[0]] * 20


async def test_what_was_open_is_lost_and_says_so(tmp_path: Path) -> None:
    async with process_store(tmp_path) as store:
        room = await with_table(store)
        query = await room.open_query("me", "SELECT * FROM range(1000000)", b"", {})
        stream = await room.open_query_rows("me", query.query_id)
        upload = await room.open_upload(UploadStart(kind="insert", table="t"))
        os.kill(engine_pid(store, "p/room"), signal.SIGSTOP)
        reading = asyncio.ensure_future(room.next_piece(stream))
        await asyncio.sleep(0)
        os.kill(engine_pid(store, "p/room"), signal.SIGKILL)
        with pytest.raises(EngineEndedError):
            await reading
        with pytest.raises(Exception, match="not open any more"):
            await room.upload_rows(upload, b"[]")
        assert not await room.close_query("me", query.query_id)
        assert await numbers(room) == [0]


async def test_a_read_that_takes_too_long_is_stopped_and_others_go_on(tmp_path: Path) -> None:
    async with process_store(tmp_path, limits=PATIENT, read_seconds=0.5) as store:
        room = await with_table(store)
        endless = asyncio.ensure_future(room.open_query("me", ENDLESS, b"", {}))
        counts = [asyncio.ensure_future(numbers(room)) for _ in range(3)]
        with pytest.raises(RequestTimeoutError, match=r"longer than 0\.5 seconds"):
            await endless
        assert await asyncio.gather(*counts) == [[0]] * 3
        assert await room.insert("t", b'{"id": 1}') == 1
        assert store.figures().losses == {"time": 1}


async def test_a_query_that_takes_too_much_processor_time_is_stopped(tmp_path: Path) -> None:
    async with process_store(tmp_path, limits=PATIENT, cpu_seconds=0.3) as store:
        room = await with_table(store)
        with pytest.raises(LimitExceededError, match="processor time"):
            await room.open_query("me", ENDLESS, b"", {})
        assert await numbers(room) == [0]
        assert store.figures().losses == {"processor time": 1}


async def test_a_query_that_takes_too_much_memory_is_stopped(tmp_path: Path) -> None:
    async with process_store(tmp_path, limits=PATIENT, memory_bytes=400 * MIB) as store:
        room = await with_table(store)
        with pytest.raises(LimitExceededError, match="memory"):
            await room.open_query("me", "SELECT list(i) FROM range(200000000) a(i)", b"", {})
        assert await numbers(room) == [0]
        assert store.figures().losses == {"memory": 1}


async def test_a_process_that_takes_no_messages_is_replaced(tmp_path: Path) -> None:
    async with process_store(tmp_path, stall_seconds=0.3) as store:
        room = await with_table(store)
        os.kill(engine_pid(store, "p/room"), signal.SIGSTOP)
        assert list(await asyncio.gather(numbers(room), numbers(room))) == [[0], [0]]
        assert store.figures().losses == {"stall": 1}


async def test_a_write_in_a_killed_process_says_that_its_outcome_is_unknown(tmp_path: Path) -> None:
    async with process_store(tmp_path) as store:
        room = await with_table(store)
        os.kill(engine_pid(store, "p/room"), signal.SIGSTOP)
        writing = asyncio.ensure_future(room.insert("t", b'{"id": 1}'))
        await asyncio.sleep(0.05)
        os.kill(engine_pid(store, "p/room"), signal.SIGKILL)
        with pytest.raises(OutcomeUnknownError, match="read the table"):
            await writing
        assert await numbers(room) == [0]


async def test_an_idle_process_is_stopped_unless_something_is_open_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spared = 0

    def is_in_use(connection: EngineConnection) -> bool:
        nonlocal spared
        spared += vars(connection)["in_use"]
        return bool(vars(connection)["in_use"])

    def set_in_use(connection: EngineConnection, value: bool) -> None:
        vars(connection)["in_use"] = value

    async with process_store(tmp_path, idle_seconds=0.05) as store:
        room = await with_table(store)
        await until(lambda: not store.slots[0].is_running)
        query = await room.open_query("me", "SELECT 7 AS n", b"", {})
        with monkeypatch.context() as patched:  # asked of a process that is idle for long enough
            patched.setattr(EngineConnection, "in_use", property(is_in_use, set_in_use), raising=False)
            await until(lambda: spared >= 3)
        stream = await room.open_query_rows("me", query.query_id)
        assert await room.next_piece(stream)
        assert await room.next_piece(stream) is None
        await room.close_stream(stream)
        await until(lambda: not store.slots[0].is_running)
        assert await numbers(room) == [0]
        assert store.figures().losses == {}
        assert store.figures().starts == 3


async def test_a_closed_store_leaves_no_process(tmp_path: Path) -> None:
    async with process_store(tmp_path) as store:
        room = await with_table(store)
        pid = engine_pid(store, "p/room")
        os.kill(pid, signal.SIGSTOP)
        call = asyncio.ensure_future(numbers(room))
        await asyncio.sleep(0)
        store.stopping(0.05)
        with pytest.raises(EngineEndedError):
            await call
        with pytest.raises(EngineEndedError, match="stopping"):
            await numbers(room)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
