"""The connection of a room client: joining, requests, reconnecting, leaving. Implements `RoomCore`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import Enum
from functools import partial
from types import TracebackType
from typing import Any, Final, TypeVar

import msgspec

from meshagent.api import jsontext
from meshagent.api.contracts.content import Body
from meshagent.api.contracts.operation import Event, Operation
from meshagent.api.errors import ConnectionLostError, InvalidStateError, RequestTimeoutError, RoomException
from meshagent.api.room.core import ConnectionHooks
from meshagent.api.room.events import EventSource
from meshagent.api.room.participants import Identity
from meshagent.api.room.reconnect import ReconnectPolicy
from meshagent.api.room.requests import Requests, log_failure, read_body, read_result
from meshagent.api.room.tasks import OwnedTasks
from meshagent.api.transport.chan import ChanClosed, ChanFull
from meshagent.api.transport.protocol import MessageHandler, Protocol
from meshagent.api.wire import envelope, names

__all__ = ["RoomConnection"]

log = logging.getLogger(__name__)

T = TypeVar("T")
RequestT = TypeVar("RequestT", bound=msgspec.Struct)
ResultT = TypeVar("ResultT", bound="msgspec.Struct | Body")
DataT = TypeVar("DataT", bound=msgspec.Struct)

LEAVE_TIMEOUT: Final = 10.0
"""Seconds that sub-clients get to send pending edits before the room is left."""


class _State(Enum):
    NEW = "new"
    JOINING = "joining"
    READY = "ready"
    CLOSED = "closed"


class RoomConnection:
    """A participant's connection to a room, which is reopened when it is lost.

    Attributes:
        protocol: Carries the messages.
        identity: Who the client is in the room.
        events: The room client's own events.
        room: `room_name`, `room_url` and `session_id`; empty before the room is ready.
    """

    def __init__(self, protocol: Protocol, *, auto_reconnect: bool, policy: ReconnectPolicy) -> None:
        self.protocol = protocol
        self.room: dict[str, str] = {}
        self._auto_reconnect = auto_reconnect and protocol.can_reopen
        self._policy = policy
        self._state = _State.NEW
        self._settled = asyncio.Event()  # set while READY or CLOSED
        self._closed = asyncio.Event()
        self._ready = _Readiness()
        self._supervisor: asyncio.Task[None] | None = None
        self._connection_number = 1
        self._requests = Requests(protocol)
        self._tasks = OwnedTasks()
        self._hooks: list[ConnectionHooks] = []
        self._registered: list[tuple[str, MessageHandler]] = []
        self._handlers: list[tuple[str, MessageHandler]] = [
            (names.RESPONSE, self._requests.on_response),
            (names.CONNECTED, self._on_connected),
            (names.ROOM_READY, self._on_room_ready),
            (names.ROOM_STATUS, self._on_status),
        ]
        self.identity = Identity(protocol)
        self.events = EventSource(self.spawn)

    # -- what sub-clients use; see `RoomCore`

    @property
    def connection_number(self) -> int:
        return self._connection_number

    @property
    def request_timeout(self) -> float:
        return self._policy.request_timeout

    async def call(
        self, operation: Operation[RequestT, ResultT], request: RequestT, payload: bytes = b"", /
    ) -> ResultT:
        if self._state is not _State.READY:
            await self._wait_until_ready()
        return await self.call_now(operation, request, payload)

    async def call_now(
        self, operation: Operation[RequestT, ResultT], request: RequestT, payload: bytes = b"", /
    ) -> ResultT:
        jsontext.check_numbers(request)
        return read_result(operation, await self._requests.send(operation.name, envelope.pack(request, payload)))

    def call_nowait(
        self, operation: Operation[RequestT, Any], request: RequestT, payload: bytes = b"", /, *, if_fails: str
    ) -> None:
        jsontext.check_numbers(request)
        try:
            if self._state is not _State.READY:
                raise ChanClosed("there is no connection to the room")
            answer = self._requests.send_nowait(operation.name, envelope.pack(request, payload))
        except ChanClosed as error:
            log.warning("%s: %s", if_fails, error)
        except ChanFull:
            log.warning("%s: too many messages wait to be sent", if_fails)
        else:
            answer.add_done_callback(partial(log_failure, if_fails))

    async def send_request(self, message_type: str, request: dict[str, Any], data: bytes | None) -> Body:
        """Send a request that no `Operation` describes, and return the content of its answer; errors as `call`."""
        if self._state is not _State.READY:
            await self._wait_until_ready()
        return read_body(await self._requests.send(message_type, envelope.pack(request, data)))

    def listen(self, event: Event[DataT], listener: Callable[[DataT, bytes], None]) -> None:
        kind = event.data

        def handle(protocol: Protocol, message_id: int, message_type: str, data: bytes) -> None:
            listener(*envelope.unpack_as(data, kind))

        self._handlers.append((event.name, handle))

    def follow_connection(self, hooks: ConnectionHooks) -> None:
        self._hooks.append(hooks)

    def spawn(self, work: Awaitable[T], name: str, *, quiet: bool = False) -> asyncio.Task[T]:
        return self._tasks.start(work, name, quiet=quiet)

    def emit(self, event_name: str, /, **values: Any) -> None:
        self.events.emit(event_name, **values)

    async def _wait_until_ready(self) -> None:
        if self._state is _State.JOINING:
            try:
                async with asyncio.timeout(self._policy.request_timeout):
                    await self._settled.wait()
            except TimeoutError:
                raise RequestTimeoutError(
                    f"no connection to the room after {self._policy.request_timeout:g} seconds of reconnecting"
                ) from None
        if self._state is _State.NEW:
            raise InvalidStateError("the client has not joined the room: use it in an `async with` block")
        if self._state is _State.CLOSED:
            raise ConnectionLostError("the connection to the room is closed")

    # -- joining and leaving

    @property
    def is_closed(self) -> bool:
        """Whether the room was left, or the connection is lost for good."""
        return self._closed.is_set()

    async def wait_for_close(self) -> None:
        """Return once `is_closed`."""
        await self._closed.wait()

    async def join(self) -> None:
        """Connect, and return when the room is ready; errors as on entry of `RoomClient`."""
        if self._state not in (_State.NEW, _State.CLOSED):
            raise InvalidStateError("the client has already joined the room")
        self._set_state(_State.JOINING)
        self._closed.clear()
        try:
            self._register()
            self._ready = _Readiness()
            await self.protocol.__aenter__()
            try:
                await self._wait_until_joined()
            except BaseException:
                await self.protocol.__aexit__(None, None, None)
                raise
        except BaseException:
            self._unregister()
            self._finish()
            raise
        self._set_state(_State.READY)
        self._supervisor = asyncio.get_running_loop().create_task(self._supervise(), name="room connection")

    async def leave(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Send pending edits, cancel all tasks, and disconnect. The arguments go to the protocol.

        Cancelling cuts short what is under way, and still disconnects.
        """
        try:
            if self._state is _State.READY:
                await self._prepare_to_leave()
        finally:
            try:
                await self._end_supervisor()
            finally:
                self._finish()
                for hooks in self._hooks:
                    if hooks.left is not None:
                        hooks.left()
                try:
                    await self._tasks.close()
                finally:
                    self._unregister()
                    await self.protocol.__aexit__(exc_type, exc, traceback)

    async def _end_supervisor(self) -> None:
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            supervisor.cancel()
            await asyncio.wait([supervisor])

    async def _prepare_to_leave(self) -> None:
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT):
                for hooks in self._hooks:
                    if hooks.before_leave is not None:
                        await hooks.before_leave()
        except TimeoutError:
            log.warning("left the room before all edits were sent: they took longer than %g seconds", LEAVE_TIMEOUT)

    async def _wait_until_joined(self) -> None:
        """Wait until the room is ready and has said who we are."""
        ready = asyncio.ensure_future(self._ready.wait())
        closed = asyncio.ensure_future(self.protocol.wait_for_close())
        try:
            await asyncio.wait([ready, closed], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            closed.cancel()
            await asyncio.wait([ready, closed])
        if not self._ready.complete:
            raise ConnectionLostError(
                f"the connection closed before the room was ready (close code {self.protocol.close_code})"
            )

    def _set_state(self, state: _State) -> None:
        self._state = state
        if state in (_State.READY, _State.CLOSED):
            self._settled.set()
        else:
            self._settled.clear()

    def _finish(self) -> None:
        self._set_state(_State.CLOSED)
        self.identity.closed()
        self._connection_lost("the connection to the room is closed")
        self._closed.set()

    def _connection_lost(self, reason: str) -> None:
        self._connection_number += 1
        self._requests.fail_all(ConnectionLostError(reason))
        for hooks in self._hooks:
            if hooks.lost is not None:
                hooks.lost()

    def _register(self) -> None:
        for message_type, handler in self._handlers:
            self.protocol.register_handler(message_type, handler)
            self._registered.append((message_type, handler))

    def _unregister(self) -> None:
        while self._registered:
            self.protocol.unregister_handler(*self._registered.pop())

    # -- reconnecting

    async def _supervise(self) -> None:
        """Watch the connection, and reconnect when it is lost."""
        while True:
            await self.protocol.wait_for_close()
            code = self.protocol.close_code
            reconnects = self._auto_reconnect and self._policy.applies_to(code)
            self._set_state(_State.JOINING if reconnects else _State.CLOSED)
            self._connection_lost(f"the connection to the room closed (close code {code})")
            if not reconnects:
                break
            log.info("lost the connection to room %r (close code %s): reconnecting", self.room["room_name"], code)
            self.emit("reconnecting")
            if not await self._reconnect():
                break
            self._set_state(_State.READY)
            self.emit("reconnected")
        self._finish()
        self.emit("disconnected")

    async def _reconnect(self) -> bool:
        for delay in self._policy.delays():
            await asyncio.sleep(delay)
            try:
                async with asyncio.timeout(self._policy.attempt_timeout):
                    await self._rejoin()
            except Exception as error:  # noqa: BLE001 - whatever stands in the way, the protocol judges it
                self._requests.fail_all(ConnectionLostError("the connection to the room closed"))
                if not self._may_try_again(error):
                    log.error("gave up reconnecting: %s", error)
                    return False
                log.info("reconnecting failed: %s", error)
            else:
                return True
        log.error("gave up reconnecting after %s attempts", self._policy.max_attempts)
        return False

    def _may_try_again(self, error: Exception) -> bool:
        code = self.protocol.close_code
        if isinstance(error, ConnectionLostError) and code is not None:
            return self._policy.applies_to(code)
        return self.protocol.is_temporary(error)

    async def _rejoin(self) -> None:
        self._ready = _Readiness()
        session_id = self.room.get("session_id")
        await self.protocol.reopen()
        await self._wait_until_joined()
        watch = asyncio.get_running_loop().create_task(self._notice_loss())
        try:
            await self.identity.send_own_attributes()
            for hooks in self._hooks:
                await _restore(hooks, same_run=self.room["session_id"] == session_id)
        finally:
            watch.cancel()
            await asyncio.wait([watch])

    async def _notice_loss(self) -> None:
        """Fail requests that wait for answers when the new connection closes before everything is restored."""
        await self.protocol.wait_for_close()
        self._connection_lost("the connection to the room closed again")

    # -- lifecycle messages

    def _on_connected(self, protocol: Protocol, message_id: int, message_type: str, data: bytes) -> None:
        header, _ = envelope.unpack(data)
        if header.get("type") == "init":
            self.identity.connected(header["participantId"], header["attributes"], reconnects=self._auto_reconnect)
            self._ready.known.set()

    def _on_room_ready(self, protocol: Protocol, message_id: int, message_type: str, data: bytes) -> None:
        header, _ = envelope.unpack(data)
        self.room = {name: str(header[name]) for name in ("room_name", "room_url", "session_id")}
        self._ready.open.set()

    def _on_status(self, protocol: Protocol, message_id: int, message_type: str, data: bytes) -> None:
        header, _ = envelope.unpack(data)
        self.emit("room.status", **header)


async def _restore(hooks: ConnectionHooks, *, same_run: bool) -> None:
    if hooks.restore is None:
        return
    try:
        await hooks.restore(same_run)
    except ConnectionLostError:
        raise
    except RoomException as error:
        log.warning("reconnected without %s: %s", hooks.name, error)


class _Readiness:
    """The two messages that a client waits for, which come in either order: `connected` and `room_ready`."""

    def __init__(self) -> None:
        self.known = asyncio.Event()
        self.open = asyncio.Event()

    @property
    def complete(self) -> bool:
        return self.known.is_set() and self.open.is_set()

    async def wait(self) -> None:
        await self.known.wait()
        await self.open.wait()
