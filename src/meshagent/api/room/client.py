"""`RoomClient`: one participant's way into a room."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import Enum
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from meshagent.api.contracts.content import Body
from meshagent.api.contracts.operation import Operation
from meshagent.api.errors import ConnectionLostError, InvalidStateError, RequestTimeoutError, RoomException
from meshagent.api.room._tasks import OwnedTasks
from meshagent.api.room.agents import AgentsClient
from meshagent.api.room.database import DatabaseClient
from meshagent.api.room.developer import DeveloperClient
from meshagent.api.room.events import EventHandler, EventSource
from meshagent.api.room.livekit import LivekitClient
from meshagent.api.room.messaging import MessagingClient
from meshagent.api.room.participants import LocalParticipant
from meshagent.api.room.queues import QueuesClient
from meshagent.api.room.reconnect import ReconnectPolicy
from meshagent.api.room.requests import Answer, Requests, read_body, read_result
from meshagent.api.room.storage import StorageClient
from meshagent.api.room.sync import SyncClient
from meshagent.api.transport.chan import ChanClosed
from meshagent.api.transport.protocol import MessageHandler, Protocol
from meshagent.api.wire import envelope, names

__all__ = ["RoomClient"]

log = logging.getLogger(__name__)

RequestT = TypeVar("RequestT", bound=msgspec.Struct)
ResultT = TypeVar("ResultT", bound="msgspec.Struct | Body")

LEAVE_TIMEOUT = 10.0


class _State(Enum):
    NEW = "new"
    JOINING = "joining"
    READY = "ready"
    CLOSED = "closed"


class RoomClient:
    """A participant's client of one room; use it as an async context manager.

    Inside the `async with` block the room is ready and the sub-clients work: `messaging`, `storage`, `sync`,
    `agents`, `queues`, `database`, `livekit`, `developer`.

    When the connection is lost, the client joins again by itself, if the protocol can (a WebSocket one can):
    attributes, messaging, the developer watch and open documents are as before, and edits made meanwhile are
    merged. Requests that were under way fail with `ConnectionLostError` and are never repeated; new ones wait for
    the connection. Events tell of it: `reconnecting`, `reconnected`, and `disconnected` when it is over for good;
    `room.status` (status, message) tells how the room is getting on.

    Args:
        protocol: The connection. The client enters and leaves it; it may be entered already.
        auto_reconnect: Whether to join again after the connection is lost.
        reconnect: How patiently.

    Raises:
        ConnectionLostError: On entry, the connection ended before the room was ready. Other errors of
            connecting come from the protocol.
    """

    def __init__(
        self, *, protocol: Protocol, auto_reconnect: bool = True, reconnect: ReconnectPolicy | None = None
    ) -> None:
        self.protocol = protocol
        self._auto_reconnect = auto_reconnect and protocol.can_reopen
        self._policy = reconnect if reconnect is not None else ReconnectPolicy()
        self._state = _State.NEW
        self._settled = asyncio.Event()  # set while READY or CLOSED
        self._closed = asyncio.Event()
        self._ready = _Readiness()
        self._supervisor: asyncio.Task[None] | None = None
        self._local_participant: LocalParticipant | None = None
        self._room: dict[str, str] = {}
        self._connection = 1  # counts the connections that this client has had
        self._requests = Requests(protocol)
        self._tasks = OwnedTasks()
        self._events = EventSource(self._tasks)

        self.messaging = MessagingClient(room=self)
        self.storage = StorageClient(room=self)
        self.sync = SyncClient(room=self)
        self.agents = AgentsClient(room=self)
        self.queues = QueuesClient(room=self)
        self.database = DatabaseClient(self)
        self.livekit = LivekitClient(room=self)
        self.developer = DeveloperClient(self)
        self._registered: list[tuple[str, MessageHandler]] = []
        self._handlers: list[tuple[str, MessageHandler]] = [
            (names.RESPONSE, self._requests.on_response),
            (names.CONNECTED, self._on_connected),
            (names.ROOM_READY, self._on_room_ready),
            (names.ROOM_STATUS, self._on_status),
            *self.messaging._message_handlers(),
            *self.storage._message_handlers(),
            *self.sync._message_handlers(),
            *self.developer._message_handlers(),
        ]

    # -- what is known of the room

    @property
    def local_participant(self) -> LocalParticipant:
        """Oneself; InvalidStateError before the room is ready."""
        if self._local_participant is None:
            raise InvalidStateError("the room is not ready: enter the client first")
        return self._local_participant

    @property
    def room_name(self) -> str:
        """The room's name; InvalidStateError before the room is ready."""
        return self._known("room_name")

    @property
    def room_url(self) -> str:
        """The room's WebSocket URL; InvalidStateError before the room is ready."""
        return self._known("room_url")

    @property
    def session_id(self) -> str:
        """Identifies this run of the room; InvalidStateError before the room is ready."""
        return self._known("session_id")

    def _known(self, name: str) -> str:
        if name not in self._room:
            raise InvalidStateError("the room is not ready: enter the client first")
        return self._room[name]

    # -- events

    def on(self, event_name: str, func: EventHandler) -> None:
        """Call `func` when an event happens; see the class for events, `EventSource` for the rules."""
        self._events.on(event_name, func)

    def off(self, event_name: str, func: EventHandler) -> None:
        """Call `func` no more."""
        self._events.off(event_name, func)

    def emit(self, event_name: str, /, **values: Any) -> None:
        """Make an event happen."""
        self._events.emit(event_name, **values)

    # -- requests

    async def call(self, operation: Operation[RequestT, ResultT], request: RequestT, payload: bytes = b"") -> ResultT:
        """Ask the room for an operation and return its result.

        Bound the wait with `asyncio.timeout()`. After a cancellation or a lost connection it is unknown whether
        the operation took effect.

        Raises:
            RoomException: The room refused; the class says what kind of refusal it is.
            ConnectionLostError: The connection ended before the answer came, or is closed.
            RequestTimeoutError: The client is reconnecting and did not manage to in time.
        """
        if self._state is not _State.READY:
            await self._until_ready()
        return await self._call_now(operation, request, payload)

    async def send_request(self, type: str, request: dict[str, Any], data: bytes | None = None) -> Body:
        """Send a request in its raw form and return the content of the answer; errors as `call`."""
        if self._state is not _State.READY:
            await self._until_ready()
        return read_body(await self._requests.send(type, envelope.pack(request, data)))

    async def _call_now(
        self, operation: Operation[RequestT, ResultT], request: RequestT, payload: bytes = b""
    ) -> ResultT:
        """`call` without waiting for readiness: for what makes the room ready again."""
        return read_result(operation, await self._requests.send(operation.name, envelope.pack(request, payload)))

    def _call_nowait(self, operation: Operation[RequestT, ResultT], request: RequestT, payload: bytes = b"") -> Answer:
        """Send a request at once; `read_result` reads what its answer becomes. ChanClosed if there is no room."""
        if self._state is not _State.READY:
            raise ChanClosed("there is no connection to the room right now")
        return self._requests.send_nowait(operation.name, envelope.pack(request, payload))

    async def _until_ready(self) -> None:
        if self._state is _State.JOINING:
            try:
                async with asyncio.timeout(self._policy.request_timeout):
                    await self._settled.wait()
            except TimeoutError:
                raise RequestTimeoutError("the connection to the room did not come back in time") from None
        if self._state is _State.NEW:
            raise InvalidStateError("the client has not joined the room: enter it first")
        if self._state is _State.CLOSED:
            raise ConnectionLostError("the connection to the room is closed")

    # -- joining and leaving

    async def __aenter__(self) -> Self:
        if self._state not in (_State.NEW, _State.CLOSED):
            raise InvalidStateError("the client is in the room already")
        self._become(_State.JOINING)
        self._closed.clear()
        try:
            self._register()
            self._ready = _Readiness()
            await self.protocol.__aenter__()
            try:
                await self._until_joined()
            except BaseException:
                await self.protocol.__aexit__(None, None, None)
                raise
        except BaseException:
            self._unregister()
            self._finish()
            raise
        self._become(_State.READY)
        self._supervisor = asyncio.get_running_loop().create_task(self._supervise(), name="room connection")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._state is _State.READY:
                await self._say_goodbye()
        finally:
            if self._supervisor is not None:
                self._supervisor.cancel()
                await asyncio.wait([self._supervisor])
                self._supervisor = None
            self._finish()
            self.sync._leave()
            try:
                await self._tasks.close()
            finally:
                self._unregister()
                await self.protocol.__aexit__(exc_type, exc, traceback)

    async def wait_for_close(self) -> None:
        """Return when the client is out of the room for good; a lost connection that comes back does not count."""
        await self._closed.wait()

    async def _say_goodbye(self) -> None:
        """Let the sub-clients deliver what they hold back."""
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT):
                await self.sync._flush()
        except TimeoutError:
            log.warning("left the room before all edits had arrived")

    async def _until_joined(self) -> None:
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
                f"the connection ended before the room was ready (close code {self.protocol.close_code})"
            )

    def _become(self, state: _State) -> None:
        self._state = state
        if state in (_State.READY, _State.CLOSED):
            self._settled.set()
        else:
            self._settled.clear()

    def _finish(self) -> None:
        self._become(_State.CLOSED)
        if self._local_participant is not None:
            self._local_participant._sent_later = False
        self._connection_lost("the connection to the room is closed")
        self._closed.set()

    def _connection_lost(self, reason: str) -> None:
        self._connection += 1
        self._requests.fail_all(ConnectionLostError(reason))
        self.messaging._connection_lost()
        self.sync._connection_lost()

    def _register(self) -> None:
        for message_type, handler in self._handlers:
            self.protocol.register_handler(message_type, handler)
            self._registered.append((message_type, handler))

    def _unregister(self) -> None:
        while self._registered:
            self.protocol.unregister_handler(*self._registered.pop())

    # -- staying

    async def _supervise(self) -> None:
        """Watch the connection, and make it again when it is lost."""
        while True:
            await self.protocol.wait_for_close()
            code = self.protocol.close_code
            comes_back = self._auto_reconnect and self._policy.applies_to(code)
            self._become(_State.JOINING if comes_back else _State.CLOSED)
            self._connection_lost(f"the connection to the room ended (close code {code})")
            if not comes_back:
                break
            log.info("the connection to room %r ended (close code %s): reconnecting", self._room["room_name"], code)
            self.emit("reconnecting")
            if not await self._reconnect():
                break
            self._become(_State.READY)
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
                self._requests.fail_all(ConnectionLostError("the connection to the room ended"))
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
        session_id = self._room.get("session_id")
        await self.protocol.reopen()
        await self._until_joined()
        watch = asyncio.get_running_loop().create_task(self._notice_loss())
        try:
            await self._restore_all(same_run=self._room["session_id"] == session_id)
        finally:
            watch.cancel()
            await asyncio.wait([watch])

    async def _notice_loss(self) -> None:
        """Fail what waits for answers if the new connection ends, too, before everything is as it was."""
        await self.protocol.wait_for_close()
        self._connection_lost("the connection to the room ended again")

    async def _restore_all(self, *, same_run: bool) -> None:
        if self._local_participant is not None:
            await self._local_participant._send_own_attributes()
        await self._restore("messaging", self.messaging._restore)
        await self._restore("the developer watch", self.developer._restore)
        await self.sync._restore(same_run=same_run)

    async def _restore(self, what: str, restore: Callable[[], Awaitable[None]]) -> None:
        try:
            await restore()
        except ConnectionLostError:
            raise
        except RoomException as error:
            log.warning("reconnected without %s: %s", what, error)

    # -- lifecycle messages

    def _on_connected(self, protocol: Protocol, message_id: int, message_type: str, data: bytes) -> None:
        header, _ = envelope.unpack(data)
        if header.get("type") != "init":
            return
        participant_id, attributes = header["participantId"], header["attributes"]
        if self._local_participant is None:
            self._local_participant = LocalParticipant(id=participant_id, attributes=attributes, protocol=self.protocol)
        else:
            self._local_participant._rejoined(participant_id, attributes)
        self._local_participant._sent_later = self._auto_reconnect
        self._ready.known.set()

    def _on_room_ready(self, protocol: Protocol, message_id: int, message_type: str, data: bytes) -> None:
        header, _ = envelope.unpack(data)
        self._room = {name: str(header[name]) for name in ("room_name", "room_url", "session_id")}
        self._ready.open.set()

    def _on_status(self, protocol: Protocol, message_id: int, message_type: str, data: bytes) -> None:
        header, _ = envelope.unpack(data)
        self.emit("room.status", **header)


class _Readiness:
    """The two things that the room says, in either order, before it is of use: who we are, and that it is ready."""

    def __init__(self) -> None:
        self.known = asyncio.Event()
        self.open = asyncio.Event()

    @property
    def complete(self) -> bool:
        return self.known.is_set() and self.open.is_set()

    async def wait(self) -> None:
        await self.known.wait()
        await self.open.wait()
