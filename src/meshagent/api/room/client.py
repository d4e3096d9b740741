"""`RoomClient`: a program's way into a room."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from meshagent.api.contracts.content import Body
from meshagent.api.contracts.operation import Operation
from meshagent.api.errors import InvalidStateError
from meshagent.api.room.agents import AgentsClient
from meshagent.api.room.connection import RoomConnection
from meshagent.api.room.database import DatabaseClient
from meshagent.api.room.developer import DeveloperClient
from meshagent.api.room.events import EventHandler
from meshagent.api.room.livekit import LivekitClient
from meshagent.api.room.messaging import MessagingClient
from meshagent.api.room.participants import LocalParticipant
from meshagent.api.room.queues import QueuesClient
from meshagent.api.room.reconnect import ReconnectPolicy
from meshagent.api.room.storage import StorageClient
from meshagent.api.room.sync import SyncClient
from meshagent.api.transport.protocol import Protocol

__all__ = ["RoomClient"]

T = TypeVar("T")
RequestT = TypeVar("RequestT", bound=msgspec.Struct)
ResultT = TypeVar("ResultT", bound="msgspec.Struct | Body")

_NOT_READY = "the room is not ready: use the client in an `async with` block"


class RoomClient:
    """A participant's client of one room; use it as an async context manager.

    Inside the `async with` block the room is ready and the sub-clients work: `messaging`, `storage`, `sync`,
    `agents`, `queues`, `database`, `livekit`, `developer`.

    When the connection is lost, the client reconnects by itself, if the protocol can (a WebSocket one can).
    Attributes, messaging, the developer log and open documents are then as before, and edits made meanwhile are
    merged. Requests that were waiting for an answer fail with `ConnectionLostError` and are never repeated; new ones
    wait for the connection.

    Events: `reconnecting`, `reconnected`, `disconnected` (the connection is lost for good), and `room.status`
    (status, message), which tells how the start of the room is getting on.

    Args:
        protocol: The connection. The client enters and leaves it; it may be entered already.
        auto_reconnect: Whether to reconnect after the connection is lost.
        reconnect: How often and how long to try.

    Raises:
        ConnectionLostError: On entry, the connection closed before the room was ready. Other errors of
            connecting come from the protocol.
    """

    def __init__(
        self, *, protocol: Protocol, auto_reconnect: bool = True, reconnect: ReconnectPolicy | None = None
    ) -> None:
        core = RoomConnection(protocol, auto_reconnect=auto_reconnect, policy=reconnect or ReconnectPolicy())
        self._connection = core
        self.messaging = MessagingClient(room=core)
        self.storage = StorageClient(room=core)
        self.sync = SyncClient(room=core)
        self.agents = AgentsClient(room=core)
        self.queues = QueuesClient(room=core)
        self.database = DatabaseClient(core)
        self.livekit = LivekitClient(room=core)
        self.developer = DeveloperClient(core)

    async def __aenter__(self) -> Self:
        await self._connection.join()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._connection.leave(exc_type, exc, traceback)

    # -- what is known of the room

    @property
    def protocol(self) -> Protocol:
        """The connection that carries the messages."""
        return self._connection.protocol

    @property
    def local_participant(self) -> LocalParticipant:
        """This client as a participant; InvalidStateError before the room is ready."""
        participant = self._connection.identity.participant
        if participant is None:
            raise InvalidStateError(_NOT_READY)
        return participant

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
        value = self._connection.room.get(name)
        if value is None:
            raise InvalidStateError(_NOT_READY)
        return value

    # -- the connection

    @property
    def connection_number(self) -> int:
        """Counts the client's connections: it changes when one is lost. An answer to a message that came by an
        earlier connection reaches nobody."""
        return self._connection.connection_number

    @property
    def is_closed(self) -> bool:
        """Whether the room was left, or the connection is lost for good."""
        return self._connection.is_closed

    async def wait_for_close(self) -> None:
        """Return once `is_closed`; a connection that is lost and comes back does not count."""
        await self._connection.wait_for_close()

    def spawn(self, work: Awaitable[T], name: str, *, quiet: bool = False) -> asyncio.Task[T]:
        """Run a task that is cancelled when the room is left.

        Args:
            work: A coroutine or another awaitable.
            name: The task's name; if the task fails, the log says so under it.
            quiet: Do not log a failure, because somebody awaits the task.
        """
        return self._connection.spawn(work, name, quiet=quiet)

    # -- events

    def on(self, event_name: str, func: EventHandler) -> None:
        """Call `func` when an event happens; see the class for events, `EventSource` for the rules."""
        self._connection.events.on(event_name, func)

    def off(self, event_name: str, func: EventHandler) -> None:
        """Undo `on`."""
        self._connection.events.off(event_name, func)

    def emit(self, event_name: str, /, **values: Any) -> None:
        """Call the handlers of an event with `values` by keyword."""
        self._connection.events.emit(event_name, **values)

    # -- requests

    async def call(self, operation: Operation[RequestT, ResultT], request: RequestT, payload: bytes = b"") -> ResultT:
        """Request an operation of the room and return its result.

        Bound the wait with `asyncio.timeout()`. After a cancellation or a lost connection it is unknown whether
        the operation took effect.

        Raises:
            RoomException: The room refused; the class says what kind of refusal it is.
            ConnectionLostError: The connection ended before the answer came, or is closed.
            RequestTimeoutError: The client is reconnecting and did not manage to in time.
        """
        return await self._connection.call(operation, request, payload)

    async def send_request(self, type: str, request: dict[str, Any], data: bytes | None = None) -> Body:
        """Send a request in its raw form and return the content of the answer; errors as `call`."""
        return await self._connection.send_request(type, request, data)
