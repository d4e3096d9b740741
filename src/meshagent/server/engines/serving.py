"""Takes calls from the server and gives them to the engines of this process."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec

import meshagent.server.engines.room_engine  # noqa: F401 - loads the engines before the fork
from meshagent.api.errors import RoomException
from meshagent.server.engines.errors import sent_error
from meshagent.server.engines.host import EngineHost
from meshagent.server.engines.methods import METHODS
from meshagent.server.engines.packets import (
    Answer,
    Call,
    Cancel,
    CloseRoom,
    End,
    Failure,
    LogEntry,
    Notice,
    PacketSocket,
    Ping,
    Pong,
    Start,
    ToEngine,
    encoded,
)
from meshagent.server.engines.usage import limit_data_memory
from meshagent.server.stores.tables.table_engine import TableEngine
from meshagent.server.stores.tables.work_clock import WorkClock, start_clock

__all__ = ["serve"]

log = logging.getLogger(__name__)

_DONE = encoded(None)


def serve(calls: socket.socket) -> None:
    """Serve the calls that come by a socket, until the server ends it or is gone."""
    try:
        import uvloop
    except ImportError:
        factory = None
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(calls))


async def _serve(calls: socket.socket) -> None:
    server = EngineServer()
    calls.setblocking(False)
    await asyncio.get_running_loop().create_unix_connection(lambda: server.socket, sock=calls)
    await server.ended.wait()
    server.socket.flush()
    os._exit(0)  # threads of an engine that works on must not hold up the end


class EngineServer:
    """One engine process.

    Attributes:
        socket: What the server is connected to.
        ended: Set when all rooms are closed.
    """

    def __init__(self) -> None:
        self.socket = PacketSocket(self._received, lambda: os._exit(0))
        self.ended = asyncio.Event()
        self._host: EngineHost | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._clocks: dict[int, WorkClock] = {}
        self._ending: asyncio.Task[None] | None = None
        self._decoder = msgspec.msgpack.Decoder(ToEngine)

    def _received(self, data: bytes) -> None:
        message: ToEngine = self._decoder.decode(data)
        match message:
            case Start():
                self._start(message)
            case Ping():
                now = time.monotonic()
                clocks = {number: clock.began for number, clock in self._clocks.items()}
                running = {number: now - began for number, began in clocks.items() if began is not None}
                self.socket.send_now(Pong(running, self._host is not None and self._host.is_in_use))
            case Call(number=number):
                self._run(number, self._call(message))
            case CloseRoom(number=number):
                self._run(number, self._close_room(message))
            case Notice():
                assert self._host is not None
                self._host.notify(message.room, message.method, _arguments(message))
            case Cancel(number=number):
                if (task := self._tasks.get(number)) is not None:
                    task.cancel()
            case End():
                self._ending = asyncio.get_running_loop().create_task(self._end(), name="end")

    def _start(self, start: Start) -> None:
        root = logging.getLogger()
        root.handlers = [_LogSender(self.socket)]
        root.setLevel(start.log_level)
        limit_data_memory(start.memory_bytes)
        engine = TableEngine(
            Path(start.root), durability=start.durability, limits=start.limits, maintenance=start.maintenance
        )
        self._host = EngineHost(engine)

    def _run(self, number: int, work: Coroutine[Any, Any, msgspec.Raw]) -> None:
        self._tasks[number] = asyncio.get_running_loop().create_task(self._answer(number, work))

    async def _answer(self, number: int, work: Coroutine[Any, Any, msgspec.Raw]) -> None:
        self._clocks[number] = start_clock()
        message: Answer | Failure
        try:
            message = Answer(number, await work)
        except RoomException as error:
            message = Failure(number, sent_error(error))
        except asyncio.CancelledError:
            return
        except BaseException as error:
            log.exception("a call to the table engine failed")
            message = Failure(number, sent_error(error))
        finally:
            del self._tasks[number], self._clocks[number]
        await self.socket.send(message)

    async def _call(self, call: Call) -> msgspec.Raw:
        assert self._host is not None
        return encoded(await self._host.call(call.room, call.method, _arguments(call)))

    async def _close_room(self, message: CloseRoom) -> msgspec.Raw:
        assert self._host is not None
        await self._host.close_room(message.room)
        return _DONE

    async def _end(self) -> None:
        if self._host is not None:
            await self._host.close()
        self.ended.set()


def _arguments(message: Call | Notice) -> tuple[object, ...]:
    return METHODS[message.method].arguments.decode(message.arguments)


class _LogSender(logging.Handler):
    """Hands this process's log to the server's."""

    def __init__(self, sending: PacketSocket) -> None:
        super().__init__()
        self._socket = sending
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        entry = LogEntry(record.levelno, record.name, self.format(record)[:10_000])
        self._loop.call_soon_threadsafe(self._socket.send_now, entry)
