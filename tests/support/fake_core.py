"""A `RoomCore` without a room: sub-clients make their requests to it, and a test plays the room."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import msgspec

from meshagent.api import jsontext
from meshagent.api.contracts.content import Body
from meshagent.api.contracts.operation import EMPTY, Empty, Event, Operation
from meshagent.api.errors import RoomException
from meshagent.api.room.core import ConnectionHooks, RoomCore
from meshagent.api.room.tasks import OwnedTasks

T = TypeVar("T")
RequestT = TypeVar("RequestT", bound=msgspec.Struct)
ResultT = TypeVar("ResultT", bound="msgspec.Struct | Body")
DataT = TypeVar("DataT", bound=msgspec.Struct)

Answer = Callable[[dict[str, Any], bytes], Any]
"""Takes a request's header and payload; returns JSON, a content or an awaitable of these, or raises."""


class FakeCore(RoomCore):
    """Records requests, answers them by script, and lets a test break and restore the connection.

    Attributes:
        requests: (operation, header as on the wire, payload) of all requests, in order.
        answers: How requests are answered, by operation; `empty` for all others.
        failures: What `call_nowait` would have logged.
        emitted: Events of the room client, as (name, values).
    """

    connection_number = 1
    request_timeout = 5.0

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, Any], bytes]] = []
        self.answers: dict[str, Answer] = {}
        self.failures: list[str] = []
        self.emitted: list[tuple[str, dict[str, Any]]] = []
        self._listeners: dict[str, Callable[[dict[str, Any], bytes], None]] = {}
        self._hooks: list[ConnectionHooks] = []
        self._tasks = OwnedTasks()

    # -- what a sub-client uses

    async def call(
        self, operation: Operation[RequestT, ResultT], request: RequestT, payload: bytes = b"", /
    ) -> ResultT:
        header = jsontext.loads(jsontext.dumps(request))
        self.requests.append((operation.name, header, payload))
        answer = self.answers.get(operation.name)
        result = None if answer is None else answer(header, payload)
        if isinstance(result, Awaitable):
            result = await result
        return cast(ResultT, _decoded(operation.result, result))

    async def call_now(
        self, operation: Operation[RequestT, ResultT], request: RequestT, payload: bytes = b"", /
    ) -> ResultT:
        return await self.call(operation, request, payload)

    def call_nowait(
        self, operation: Operation[RequestT, Any], request: RequestT, payload: bytes = b"", /, *, if_fails: str
    ) -> None:
        async def call() -> None:
            try:
                await self.call(operation, request, payload)
            except RoomException as error:
                self.failures.append(f"{if_fails}: {error}")

        self.spawn(call(), "call_nowait")

    def listen(self, event: Event[DataT], listener: Callable[[DataT, bytes], None]) -> None:
        assert event.name not in self._listeners
        self._listeners[event.name] = lambda header, payload: listener(jsontext.convert(header, event.data), payload)

    def follow_connection(self, hooks: ConnectionHooks) -> None:
        self._hooks.append(hooks)

    def spawn(self, work: Awaitable[T], name: str, *, quiet: bool = False) -> asyncio.Task[T]:
        return self._tasks.start(work, name, quiet=quiet)

    def emit(self, event_name: str, /, **values: Any) -> None:
        self.emitted.append((event_name, values))

    # -- what a test does

    def received(self, operation: str) -> list[tuple[dict[str, Any], bytes]]:
        """Header and payload of the requests of an operation."""
        return [(header, payload) for name, header, payload in self.requests if name == operation]

    def deliver(self, event_name: str, header: dict[str, Any], payload: bytes = b"") -> None:
        """Send an event to the sub-client, as the room does."""
        self._listeners[event_name](header, payload)

    def lose_connection(self) -> None:
        """End the connection."""
        self.connection_number += 1
        for hooks in self._hooks:
            if hooks.lost is not None:
                hooks.lost()

    async def reconnect(self, *, same_run: bool = True) -> None:
        """Restore what was there before the connection was lost."""
        for hooks in self._hooks:
            if hooks.restore is not None:
                await hooks.restore(same_run)

    async def leave(self) -> None:
        """Leave the room, as the client does at the end of its block."""
        for hooks in self._hooks:
            if hooks.before_leave is not None:
                await hooks.before_leave()
        self.lose_connection()
        for hooks in self._hooks:
            if hooks.left is not None:
                hooks.left()
        await self._tasks.close()

    async def settle(self) -> None:
        """Let tasks run until all of them wait for something or are done."""
        for _ in range(10):
            await asyncio.sleep(0)


def _decoded(kind: type[ResultT], result: Any) -> Any:
    """`result` as a client decodes it from the wire."""
    if issubclass(kind, Empty):
        return EMPTY
    if issubclass(kind, Body):
        assert isinstance(result, kind), f"expected a {kind.__name__}, not {result!r}"
        return result
    return jsontext.convert({} if result is None else result, kind)
