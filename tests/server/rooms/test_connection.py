"""A connection over a scripted socket: requests that fail, and waiting for what was sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from meshagent.api.contracts.operation import EMPTY, Empty
from meshagent.server.kernel.dispatcher import Dispatcher, OperationTable
from meshagent.server.kernel.operations import StreamedFile
from meshagent.server.kernel.participant import Participant
from meshagent.server.kernel.running_operation import RUNNING
from meshagent.server.rooms.connection import MAX_WORK, Connection, ConnectionLimits, RoomMembership
from tests.support.fake_room import fake_admission


class Panic(BaseException):
    """Stands for a panic of a library in Rust, which is no `Exception`."""


class Room(RoomMembership):
    """Notes the failures that its dispatcher reports."""

    def __init__(self) -> None:
        self.failures: list[tuple[str, str]] = []
        self._dispatcher = Dispatcher(OperationTable(()), {}, failed=self._failed)

    @property
    def dispatcher(self) -> Dispatcher:
        return self._dispatcher

    def entered(self, connection: Connection) -> None:
        return None

    def welcome(self, connection: Connection) -> None:
        return None

    def departed(self, connection: Connection, code: int, reason: str) -> None:
        return None

    def _failed(self, participant: Participant, message_type: str, error: BaseException) -> None:
        self.failures.append((message_type, type(error).__name__))


class Socket:
    """Keeps what is written; its buffer drains when a test says so."""

    congested = False
    buffered = 0
    taken = 0
    sent_bytes = 0
    acknowledged = None
    is_reading = True

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.emptied: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def write(self, frames: bytes) -> None:
        self.written.append(frames)

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    async def drained(self) -> bool:
        return await self.emptied


class Joined:
    """A connection that is in a room."""

    def __init__(self) -> None:
        self.room = Room()
        self.socket = Socket()
        self.connection = Connection(self.room, fake_admission(), ConnectionLimits())
        self.connection.connected(cast(Any, self.socket))

    def text(self) -> str:
        return b"".join(self.socket.written).decode("latin-1")


@pytest.fixture
async def joined() -> AsyncIterator[Joined]:
    made = Joined()
    yield made
    made.connection.lost(1006, "the test is over")


@pytest.mark.parametrize("error", [Panic("index out of range"), ValueError("not foreseen")])
async def test_a_request_that_fails_in_an_unforeseen_way_is_answered_and_logged(
    joined: Joined, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    request: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    joined.connection.answer_when_done(7, request, 0)
    request.set_exception(error)
    await asyncio.sleep(0)
    assert "failed inside the server" in joined.text()
    assert str(error) not in joined.text()
    assert str(error) in caplog.text
    assert joined.room.failures == [("a request", type(error).__name__)]


@pytest.mark.parametrize("whole", [True, False])
async def test_sent_waits_until_the_socket_is_drained(joined: Joined, whole: bool) -> None:
    joined.connection.deliver(b"message")
    sent = asyncio.ensure_future(joined.connection.sent())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not sent.done()
    joined.socket.emptied.set_result(whole)
    assert await sent is whole


async def test_sent_waits_for_a_download_that_the_message_is_queued_behind(joined: Joined) -> None:
    gate = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"first "
        await gate.wait()
        yield b"second"

    joined.socket.emptied.set_result(True)
    joined.connection.answer(1, StreamedFile(name="a.txt", mime_type="text/plain", size=12, chunks=chunks()))
    await asyncio.sleep(0)
    joined.connection.deliver(b"behind")
    sent = asyncio.ensure_future(joined.connection.sent())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not sent.done()
    assert b"behind" not in joined.socket.written
    gate.set()
    assert await sent
    assert joined.socket.written[-1] == b"behind"
    assert "first second" in joined.text()


async def test_nothing_is_sent_after_the_end() -> None:
    joined = Joined()
    joined.connection.lost(1006, "")
    assert not await joined.connection.sent()


async def test_work_is_done_a_few_at_a_time_in_order_while_the_reader_pauses(
    joined: Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RUNNING, "name", "storage.list")
    begun: list[int] = []
    gates = [asyncio.Event() for _ in range(20)]

    async def work(number: int) -> None:
        begun.append(number)
        await gates[number].wait()

    for number in range(20):
        joined.connection.answer_when_done(number, work(number), 100)
    await asyncio.sleep(0)
    assert begun == list(range(8))
    assert not joined.socket.is_reading
    for number in range(12):
        gates[number].set()
        for _ in range(4):  # it ends, its answer is written, and the next one begins
            await asyncio.sleep(0)
        assert begun[-1] == number + 8
    assert joined.socket.is_reading
    assert begun == list(range(20))


async def test_requests_that_wait_for_people_do_not_stop_others(
    joined: Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RUNNING, "name", "queues.receive")
    waiting = [asyncio.Event() for _ in range(50)]

    async def wait(event: asyncio.Event) -> None:
        await event.wait()

    for number, event in enumerate(waiting):
        joined.connection.answer_when_done(number, wait(event), 100)
    assert joined.socket.is_reading


async def test_a_connection_is_read_no_further_while_too_many_of_its_messages_into_queues_are_stored(
    joined: Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RUNNING, "name", "queues.send")
    loop = asyncio.get_running_loop()
    sends: list[asyncio.Future[Empty]] = [loop.create_future() for _ in range(MAX_WORK + 1)]
    for number, send in enumerate(sends):
        assert joined.socket.is_reading
        joined.connection.answer_when_done(number, send, 100)
    assert not joined.socket.is_reading
    sends[0].set_result(EMPTY)
    await asyncio.sleep(0)
    assert joined.socket.is_reading
    for send in sends[1:]:
        send.set_result(EMPTY)
    await asyncio.sleep(0)
