"""A place for one engine process: started at its first call, watched, stopped when idle, replaced when it ends."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import AsyncExitStack, suppress
from typing import Any

import msgspec

from meshagent.server.engines.connection import EngineConnection, EngineGoneError
from meshagent.server.engines.errors import EngineEndedError, OutcomeUnknownError
from meshagent.server.engines.launcher import EngineProcess, launch
from meshagent.server.engines.lock import TablesLock
from meshagent.server.engines.methods import Method
from meshagent.server.engines.packets import Start
from meshagent.server.engines.settings import EngineSettings
from meshagent.server.engines.watch import EngineWatch, Verdict
from meshagent.server.stores.health import HealthMonitor

__all__ = ["EngineSlot"]

log = logging.getLogger(__name__)

_COMPONENT = "table engine"
_ATTEMPTS = 3
_END_SECONDS = 5.0
_IDLE_TICK = 1.0


class EngineSlot:
    """A place for one process.

    Attributes:
        losses: How often a process crashed, or was killed for passing a bound, by the reason.
        starts: How many processes were started.

    Args:
        start: What each process is told first.
        settings: Its bounds.
        lock: Held by each process as long as it lives.
        health: Told when no process can be started.
    """

    def __init__(self, start: Start, settings: EngineSettings, lock: TablesLock, health: HealthMonitor) -> None:
        self._start_message = start
        self._settings = settings
        self._lock = lock
        self._health = health
        self._connection: EngineConnection | None = None
        self._process: EngineProcess | None = None
        self._watch: EngineWatch | None = None
        self._running: asyncio.Task[None] | None = None
        self._starting: asyncio.Task[EngineConnection] | None = None
        self._retrying = asyncio.Lock()
        self._stopped = False
        self._stopping = asyncio.Event()
        self.losses: Counter[str] = Counter()
        self.starts = 0

    @property
    def memory_bytes(self) -> int:
        """Memory of the process when it was last looked at; 0 without one."""
        return 0 if self._watch is None else self._watch.memory_bytes

    @property
    def pid(self) -> int | None:
        """The process, if one runs."""
        return self._process.pid if self._process is not None and self.is_running else None

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self._running is not None and not self._running.done()

    @property
    def pending(self) -> int:
        """Calls that wait for their answer."""
        return 0 if self._connection is None else len(self._connection.pending)

    async def call(self, room: str, method: Method, arguments: msgspec.Raw) -> Any:
        """Call, and wait for the result.

        When the process ends meanwhile, a read is called again, up to three times in all and then one at a time, so
        that a read that ends the process every time takes no other along.

        Raises:
            OutcomeUnknownError: The process ended, and the write may be stored or not.
            EngineEndedError: The process ended, and with it what the call was about; or none can be started.
            RoomException: The call failed, or it passed a bound, and the process was killed for it.
        """
        async with AsyncExitStack() as stack:
            for attempt in range(_ATTEMPTS):
                if attempt == 1:
                    await stack.enter_async_context(self._retrying)
                connection = await self._connected()
                try:
                    return await connection.call(room, method, arguments)
                except EngineGoneError as gone:
                    if gone.blame is not None:
                        raise gone.blame from None
                    if method.is_write:
                        raise OutcomeUnknownError(
                            "the table engine ended while it wrote: all of this is stored or nothing of it;"
                            " read the table before you try again"
                        ) from None
                    if method.is_of_open:
                        raise EngineEndedError("the table engine ended, and what was open in it is lost") from None
        raise EngineEndedError(f"the table engine ended {_ATTEMPTS} times while it worked on this")

    def notify(self, room: str, method: str, arguments: msgspec.Raw) -> None:
        """Call without an answer; nothing happens without a process."""
        if self._connection is not None and self._connection.is_open:
            self._connection.notify(room, method, arguments)

    async def close_room(self, room: str) -> None:
        """Finish a room's writes, where a process runs."""
        if self._starting is not None:
            await asyncio.wait([self._starting])
        if self._connection is not None and self._connection.is_open:
            with suppress(EngineGoneError):  # then there is nothing to finish
                await self._connection.close_room(room)

    def kill(self) -> None:
        """End the process at once, and start none any more."""
        self._stop()
        if self._process is not None:
            self._process.kill()

    async def close(self) -> None:
        """End the process: in order if it obeys, else by force."""
        self._stop()
        if self._starting is not None:
            await asyncio.wait([self._starting])
        if self._running is not None:
            if self._connection is not None:
                self._connection.end()
            await asyncio.wait([self._running], timeout=_END_SECONDS)
            if self._process is not None:
                self._process.kill()
            await asyncio.wait([self._running], timeout=_END_SECONDS)

    # --- the process -----------------------------------------------------------------------------------

    async def _connected(self) -> EngineConnection:
        """The connection to the process, which is started if need be."""
        if self._starting is None:
            if self._connection is not None and self._connection.is_open:
                return self._connection
            self._starting = asyncio.get_running_loop().create_task(self._start(), name="start a table engine")
            self._starting.add_done_callback(self._started)
        return await asyncio.shield(self._starting)

    def _started(self, task: asyncio.Task[EngineConnection]) -> None:
        self._starting = None
        if not task.cancelled() and (error := task.exception()) is not None:
            if self._stopped:
                return
            self._health.report_failure(_COMPONENT, error)
        else:
            self._health.report_success(_COMPONENT)

    async def _start(self) -> EngineConnection:
        if self._running is not None:
            await asyncio.wait([self._running])  # two processes must not write the same tables
        self._check_stopped()
        loop = asyncio.get_running_loop()
        connection, process = EngineConnection(), None
        try:
            process = self._process = launch(await self._lock.hold())
            await loop.create_unix_connection(lambda: connection.socket, sock=process.calls)
            connection.start(self._start_message)
            pid = await self._pid_of(process)
        except BaseException as error:
            connection.socket.close()
            if process is not None:
                process.kill()
            if isinstance(error, (OSError, TimeoutError)):
                reason = str(error) or "it takes too long"
                raise EngineEndedError(f"the table engine cannot be started: {reason}") from error
            raise
        self.starts += 1
        self._connection = connection
        self._watch = EngineWatch(pid, connection, self._settings)
        self._running = loop.create_task(self._look_after(process, connection, self._watch), name="table engine")
        return connection

    async def _pid_of(self, process: EngineProcess) -> int:
        """Wait until a process has started, and no longer than the server goes on."""
        starting = asyncio.ensure_future(process.started())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            timeout = self._settings.start_seconds
            await asyncio.wait((starting, stopping), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            self._check_stopped()
            if not starting.done():
                raise TimeoutError
            return await starting
        finally:
            starting.cancel()
            stopping.cancel()

    def _stop(self) -> None:
        self._stopped = True
        self._stopping.set()

    def _check_stopped(self) -> None:
        if self._stopped:
            raise EngineEndedError("the server is stopping")

    async def _look_after(self, process: EngineProcess, connection: EngineConnection, watch: EngineWatch) -> None:
        """Until the process has ended."""
        verdict: Verdict | None = None
        try:
            verdict = await self._until_end(process, connection, watch)
        finally:
            process.kill()
            code = await process.exited
            if verdict is None and code:
                verdict = Verdict("crash")
            if verdict is not None and not self._stopped:
                self.losses[verdict.reason] += 1
                log.error("a table engine was lost (%s, exit code %d); calls: %d", verdict.reason, code, self.pending)
            connection.fail({} if verdict is None else verdict.blamed)
            self._watch = None

    async def _until_end(
        self, process: EngineProcess, connection: EngineConnection, watch: EngineWatch
    ) -> Verdict | None:
        """Why the process has to be killed; None if it ended by itself, or was asked to."""
        ends = (process.exited, connection.lost)
        clock = asyncio.get_running_loop().time
        while not any(end.done() for end in ends):
            if connection.pending:
                await asyncio.wait(ends, timeout=self._settings.tick)
            else:
                await self._rest(connection, ends)
            if verdict := watch.look():
                return verdict
            idle = clock() - connection.last_use
            if connection.is_open and not connection.pending and idle > self._settings.idle_seconds:
                if connection.in_use:
                    continue
                connection.end()
        return None

    async def _rest(self, connection: EngineConnection, ends: tuple[asyncio.Future[Any], ...]) -> None:
        """Wait for the next call, a while at most."""
        connection.is_busy.clear()
        call = asyncio.get_running_loop().create_task(connection.is_busy.wait())
        timeout = min(_IDLE_TICK, self._settings.idle_seconds)
        await asyncio.wait((call, *ends), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        call.cancel()
