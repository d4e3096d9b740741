"""`RemoteToolkit`: publishes a toolkit in a room (protocol 9.2, 9.6)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from meshagent.api import jsontext
from meshagent.api.contracts import agents as api
from meshagent.api.contracts.content import Body, ErrorBody
from meshagent.api.errors import (
    ConnectionLostError,
    InvalidRequestError,
    InvalidStateError,
    LimitExceededError,
    RoomException,
)
from meshagent.api.room.tasks import OwnedTasks
from meshagent.api.transport.chan import ChanClosed
from meshagent.api.transport.protocol import Protocol
from meshagent.api.wire import envelope, names
from meshagent.tools.context import ToolContext
from meshagent.tools.participants import find_participant
from meshagent.tools.tool import BaseTool
from meshagent.tools.toolkit import Toolkit

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["RemoteToolkit"]

log = logging.getLogger(__name__)

MAX_CALLS = 1000
UNREGISTER_TIMEOUT = 5.0


class RemoteToolkit(Toolkit):
    """A toolkit hosted in a room: answers calls from `start`, which registers it, to `stop`.

    Calls run concurrently, each in its own task; more than `max_calls` at a time are rejected. If a tool raises, the
    caller receives the exception's text. The toolkit registers again after a reconnect; answers to calls from the
    previous connection are dropped, because their callers have been told that the call failed.

    Args:
        public: Whether all participants see it, or only callers that name its host.
        max_calls: Maximum number of concurrent calls.

        Other arguments: as `Toolkit`.
    """

    def __init__(
        self,
        name: str | None = None,
        tools: Iterable[BaseTool] = (),
        title: str | None = None,
        description: str | None = None,
        rules: Sequence[str] = (),
        thumbnail_url: str | None = None,
        public: bool = True,
        max_calls: int = MAX_CALLS,
    ) -> None:
        super().__init__(name, tools, rules, title, description, thumbnail_url)
        self.public = public
        self._max_calls = max_calls
        self._room: RoomClient | None = None
        self._registration_id: str | None = None
        self._calls = OwnedTasks()
        self._running = 0

    @property
    def room(self) -> RoomClient:
        """The room that the toolkit is hosted in.

        Raises:
            InvalidStateError: The toolkit is not started.
        """
        if self._room is None:
            raise InvalidStateError(f"toolkit {self.name!r} is not started")
        return self._room

    async def start(self, *, room: RoomClient) -> None:
        """Register in `room` and answer calls.

        Raises:
            InvalidStateError: The toolkit is already started, or the room client already hosts one of that name.
            RoomException: The server rejected the registration.
        """
        if self._room is not None:
            raise InvalidStateError(f"toolkit {self.name!r} is already started")
        room.protocol.register_handler(self._message_type, self._on_call)
        self._room = room
        room.on("reconnected", self._register_again)
        try:
            await self._register(room)
        except BaseException:
            self._detach(room)
            raise

    async def stop(self) -> None:
        """Cancel running calls and unregister. Does nothing if the toolkit is not started."""
        room = self._room
        if room is None:
            return
        self._detach(room)
        await self._calls.close()
        registration_id, self._registration_id = self._registration_id, None
        if registration_id is not None and room.protocol.is_open:
            try:
                async with asyncio.timeout(UNREGISTER_TIMEOUT):
                    await room.call(api.UNREGISTER_TOOLKIT, api.UnregisterRequest(id=registration_id))
            except (RoomException, ChanClosed, TimeoutError) as error:
                log.info("toolkit %s was not unregistered: %s", self.name, error)

    @asynccontextmanager
    async def hosted(self, room: RoomClient) -> AsyncIterator[Self]:
        """Host the toolkit in `room` for the length of an `async with` block; errors as `start`."""
        await self.start(room=room)
        try:
            yield self
        finally:
            await self.stop()

    # -- registration

    @property
    def _message_type(self) -> str:
        return names.TOOL_CALL_PREFIX + self.name

    def _detach(self, room: RoomClient) -> None:
        self._room = None
        room.off("reconnected", self._register_again)
        room.protocol.unregister_handler(self._message_type, self._on_call)

    async def _register(self, room: RoomClient) -> None:
        request = api.RegisterToolkitRequest(
            name=self.name,
            title=self.title,
            description=self.description,
            thumbnail_url=self.thumbnail_url,
            public=self.public,
            tools={tool.name: tool.registration() for tool in self.tools},
        )
        self._registration_id = (await room.call(api.REGISTER_TOOLKIT, request)).id

    async def _register_again(self) -> None:
        room = self._room
        if room is None:
            return
        try:
            await self._register(room)
        except ConnectionLostError:
            log.info("connection lost again before toolkit %s was registered", self.name)

    # -- calls

    def _on_call(self, protocol: Protocol, message_id: int, message_type: str, data: bytes) -> None:
        room = self.room
        if self._running >= self._max_calls:
            error = LimitExceededError(f"toolkit {self.name!r} is busy", limit=self._max_calls)
            _answer_nowait(protocol, message_id, _error_body(error))
            return
        self._running += 1
        task = self._calls.start(self._serve(room, room.connection_number, message_id, data), f"call to {self.name}")
        task.add_done_callback(self._call_ended)

    def _call_ended(self, task: asyncio.Task[None]) -> None:
        self._running -= 1

    async def _serve(self, room: RoomClient, connection: int, message_id: int, data: bytes) -> None:
        """Run one call and answer it, unless the connection it arrived on is gone."""
        try:
            answer = await self._run(room, data)
        except asyncio.CancelledError:
            if room.connection_number == connection:
                _answer_nowait(room.protocol, message_id, ErrorBody(text=f"toolkit {self.name!r} was stopped"))
            raise
        if room.connection_number != connection:
            log.info("connection lost before %s answered a call", self.name)
            return
        try:
            await room.protocol.send(names.TOOL_CALL_RESPONSE, answer.pack(), message_id)
        except ChanClosed:
            log.info("connection lost before %s answered a call", self.name)

    async def _run(self, room: RoomClient, data: bytes) -> Body:
        try:
            call, payload = envelope.unpack_as(data, api.ForwardedToolCall)
            context = ToolContext(
                room=room,
                caller=find_participant(room, call.caller_id),
                on_behalf_of=None if call.on_behalf_of_id is None else find_participant(room, call.on_behalf_of_id),
                caller_context=call.caller_context,
            )
            arguments: Any = jsontext.loads(bytes(call.arguments)) or {}
            if not isinstance(arguments, dict):
                raise InvalidRequestError(f"arguments of {call.name} must be a JSON object")
            return await self.execute(context=context, name=call.name, arguments=arguments, attachment=payload or None)
        except RoomException as error:
            return _error_body(error)
        except Exception as error:
            log.exception("a tool of toolkit %s failed", self.name)
            return ErrorBody(text=str(error) or type(error).__name__)


def _error_body(error: RoomException) -> ErrorBody:
    return ErrorBody(text=str(error), code=error.wire_code)


def _answer_nowait(protocol: Protocol, message_id: int, answer: Body) -> None:
    try:
        protocol.send_nowait(names.TOOL_CALL_RESPONSE, answer.pack(), message_id)
    except Exception as error:  # noqa: BLE001 - closed or full: the caller sees the connection end
        log.info("could not answer a call: %s", error)
