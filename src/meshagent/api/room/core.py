"""`RoomCore`, the port of the sub-clients to their room client: requests, events, tasks, connection hooks.

Sub-clients that only make requests take the smaller `RoomCalls`, which a `RoomClient` is, too.
`meshagent.api.room.connection` implements both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec

from meshagent.api.contracts.content import Body
from meshagent.api.contracts.operation import Event, Operation

__all__ = ["ConnectionHooks", "RoomCalls", "RoomCore"]

T = TypeVar("T")
RequestT = TypeVar("RequestT", bound=msgspec.Struct)
ResultT = TypeVar("ResultT", bound="msgspec.Struct | Body")
DataT = TypeVar("DataT", bound=msgspec.Struct)


class RoomCalls(Protocol):
    """Makes requests to a room."""

    async def call(
        self, operation: Operation[RequestT, ResultT], request: RequestT, payload: bytes = b"", /
    ) -> ResultT:
        """Request an operation and return its result, waiting while the client reconnects.

        Raises:
            RoomException: The room refused; the class says what kind of refusal it is.
            InvalidRequestError: Also at once: a number of the request is NaN or infinite, which JSON cannot hold.
            ConnectionLostError: The connection ended before the answer came, or is closed for good.
            RequestTimeoutError: The connection did not come back in time.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionHooks:
    """What a sub-client does when the connection to the room ends, comes back, or is left.

    Attributes:
        name: What does not work if `restore` fails, for the log.
        lost: The connection has ended, for now or for good. Called before anything is tried.
        restore: The client is in the room again, with a new participant id; `same_run` says whether the room has been
            running since. A refusal is logged; `ConnectionLostError` means the new connection has ended as well.
        before_leave: Send what is pending, within a few seconds.
        left: The client is out of the room for good.
    """

    name: str
    lost: Callable[[], None] | None = None
    restore: Callable[[bool], Awaitable[None]] | None = None
    before_leave: Callable[[], Awaitable[None]] | None = None
    left: Callable[[], None] | None = None


class RoomCore(RoomCalls, Protocol):
    """A participant's connection to a room, which is reopened when it is lost."""

    @property
    def connection_number(self) -> int:
        """Counts the client's connections. What a room keeps per connection, such as an open file, ends with it."""
        ...

    @property
    def request_timeout(self) -> float:
        """Seconds that a request waits for a lost connection."""
        ...

    async def call_now(
        self, operation: Operation[RequestT, ResultT], request: RequestT, payload: bytes = b"", /
    ) -> ResultT:
        """As `call`, without waiting for a lost connection: for requests that only make sense on the present one."""
        ...

    def call_nowait(
        self, operation: Operation[RequestT, Any], request: RequestT, payload: bytes = b"", /, *, if_fails: str
    ) -> None:
        """Request an operation without waiting for its answer. A failure is logged, beginning with `if_fails`."""
        ...

    def listen(self, event: Event[DataT], listener: Callable[[DataT, bytes], None]) -> None:
        """Call `listener` with data and payload of each such event. To be called before the room is entered."""
        ...

    def follow_connection(self, hooks: ConnectionHooks) -> None:
        """Call hooks when the connection ends, comes back or is left; in the order in which they were given."""
        ...

    def spawn(self, work: Awaitable[T], name: str, *, quiet: bool = False) -> asyncio.Task[T]:
        """Run a task that ends with the client. Its failure is logged under `name`, unless `quiet`."""
        ...

    def emit(self, event_name: str, /, **values: Any) -> None:
        """Call the handlers of an event of the room client."""
        ...
