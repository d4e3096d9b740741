"""Calls of hosted tools: from the caller to the host, and what the host answers back to the caller."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import Callable
from typing import Any

from meshagent.api.contracts.operation import EMPTY, Empty
from meshagent.api.errors import (
    ConnectionLostError,
    InvalidStateError,
    LimitExceededError,
    RoomException,
    UnavailableError,
)
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.operations import EncodedContent
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.agents.hosting import CallerLink, HostedToolkit, ToolCall, ToolInput

MAX_CALLS_PER_CALLER = 10_000
"""Calls of one participant that may wait for their hosts at a time."""


OtherHost = Callable[[ToolCall], HostedToolkit | None]
"""Finds the toolkit that a call would reach if it were made now."""


class ToolCalls:
    """The tool calls of one room that have not ended.

    A call ends with the host's answer, with the close of the stream that the host opened, or when one of the
    two leaves. There is no time limit: a tool may wait for a person.

    Args:
        room: The room.
        max_calls_per_caller: Calls of one participant at a time.
    """

    def __init__(self, room: RoomContext, *, max_calls_per_caller: int = MAX_CALLS_PER_CALLER) -> None:
        self._room = room
        self._max_calls_per_caller = max_calls_per_caller
        self._by_host: dict[str, dict[int, ToolCall]] = {}
        self._by_caller: dict[str, dict[str, ToolCall]] = {}
        self._id_prefix = uuid.uuid4().hex
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        return sum(map(len, self._by_caller.values()))

    # --- the caller's side ---------------------------------------------------------------------------

    def start(
        self,
        caller: Participant,
        toolkit: HostedToolkit,
        tool: str,
        tool_input: ToolInput,
        link: CallerLink,
        *,
        streams_input: bool = False,
        on_behalf_of_id: str | None = None,
        caller_context: dict[str, Any] | None = None,
    ) -> ToolCall:
        """Hand a call to the host of its toolkit; `link` gets what the host answers.

        Raises:
            UnavailableError: The call streams its input, and the host's dialect cannot; or the host reads too slowly.
            InvalidRequestError: The tool does not take such an input.
            LimitExceededError: The caller waits for too many calls.
        """
        mine = self._by_caller.get(caller.id)
        if mine is None:
            mine = self._by_caller[caller.id] = {}
        if len(mine) >= self._max_calls_per_caller:
            limit = self._max_calls_per_caller
            raise LimitExceededError(f"{limit} tool calls of this participant are still open", limit=limit)
        if toolkit.host.outbox.is_full:
            raise UnavailableError(f"{toolkit.host.name} reads too slowly to be called; try again")
        call = ToolCall(
            call_id=f"{self._id_prefix}-{next(self._numbers)}",
            caller=caller,
            toolkit=toolkit,
            tool=tool,
            input=tool_input,
            link=link,
            on_behalf_of_id=on_behalf_of_id,
            caller_context=caller_context,
            streams_input=streams_input,
        )
        self._forward(call)
        mine[call.call_id] = call
        return call

    def _forward(self, call: ToolCall) -> None:
        call.message_id = call.toolkit.link.forward(call)
        call.position = call.host.outbox.position()
        hosted = self._by_host.get(call.host.id)
        if hosted is None:
            hosted = self._by_host[call.host.id] = {}
        hosted[call.message_id] = call

    def send_input(self, call: ToolCall, item: EncodedContent) -> None:
        """One item of the caller's stream; dropped if the call has ended.

        Raises:
            InvalidStateError: The call takes no input, or its input was closed.
        """
        self._require_input(call)
        if not call.ended:
            call.toolkit.link.forward_item(call, item)

    def close_input(self, call: ToolCall, content: EncodedContent) -> None:
        """The end of the caller's stream; errors as in `send_input`."""
        self._require_input(call)
        call.input_closed = True
        if not call.ended:
            call.toolkit.link.close_input(call, content)

    def _require_input(self, call: ToolCall) -> None:
        if not call.streams_input or call.input_closed:
            raise InvalidStateError(f"the call of {call.full_name} takes no more input")

    # --- the host's side -----------------------------------------------------------------------------
    # An answer that fits no call is dropped: its caller has left.

    def host_answered(
        self, host: Participant, message_id: int, content: EncodedContent, error: str | None = None
    ) -> None:
        """The host's one answer; `error` is its text if the answer is a failure."""
        call = self._find(host, message_id)
        if call is not None:
            self._end(call, error)
            call.link.answer(content)

    def host_opened(self, host: Participant, message_id: int) -> None:
        """The host answers with a stream."""
        call = self._find(host, message_id)
        if call is not None:
            call.was_answered = True
            call.link.open()

    def host_sent(self, host: Participant, message_id: int, item: EncodedContent) -> None:
        """One item of the host's stream; items may come before the stream is opened."""
        call = self._find(host, message_id)
        if call is not None:
            call.was_answered = True
            ready = call.link.send(item)
            if ready is not None:
                host.outbox.read_after(ready)

    def host_closed(self, host: Participant, message_id: int, content: EncodedContent) -> None:
        """The end of the host's stream."""
        call = self._find(host, message_id)
        if call is not None:
            self._end(call, None)
            call.link.close(content)

    def _find(self, host: Participant, message_id: int) -> ToolCall | None:
        hosted = self._by_host.get(host.id)
        return None if hosted is None else hosted.get(message_id)

    # --- leaving -------------------------------------------------------------------------------------

    def left(self, participant: Participant, other_host: OtherHost = lambda _: None) -> None:
        """Fail the calls whose host has left, and tell the hosts whose caller has.

        A call that the host certainly never got goes to another host of the same toolkit, if there is one.
        """
        for call in list(self._by_host.pop(participant.id, {}).values()):
            if not self._moved(call, other_host):
                error = host_left(participant, call.full_name)
                self._end(call, str(error))
                call.link.fail(error)
        for call in list(self._by_caller.pop(participant.id, {}).values()):
            self._end(call, None)
            if call.streams_input and not call.input_closed:
                call.toolkit.link.close_input(call)

    def _moved(self, call: ToolCall, other_host: OtherHost) -> bool:
        """Hand a call that was not started to another host; whether that was done."""
        if call.was_answered or call.streams_input or not call.host.outbox.surely_missed(call.position):
            return False
        toolkit = other_host(call)
        if toolkit is None or call.tool not in toolkit.tools:
            return False
        call.toolkit = toolkit
        try:
            self._forward(call)
        except RoomException:  # the other host's dialect cannot take this input
            return False
        return True

    def _end(self, call: ToolCall, error: str | None) -> None:
        call.ended = True
        if (hosted := self._by_host.get(call.host.id)) is not None:
            hosted.pop(call.message_id, None)
        if (mine := self._by_caller.get(call.caller.id)) is not None:
            mine.pop(call.call_id, None)
        entry = {
            "caller_id": call.caller.id,
            "host_id": call.host.id,
            "name": call.full_name,
            "duration": round(time.monotonic() - call.started_at, 6),
            "error": error,
        }
        self._room.record("tool.call", entry)


class AnswerFuture:
    """The end of a caller that takes one answer; of a stream it gets the last content."""

    __slots__ = ("_last", "result")

    def __init__(self) -> None:
        self.result: asyncio.Future[EncodedContent | Empty] = asyncio.get_running_loop().create_future()
        self._last: EncodedContent | Empty = EMPTY

    def answer(self, content: EncodedContent) -> None:
        if not self.result.done():
            self.result.set_result(content)

    def fail(self, error: RoomException) -> None:
        if not self.result.done():
            self.result.set_exception(error)

    def open(self) -> None:
        """The answer is the stream's last content, so there is nothing to do yet."""

    def send(self, item: EncodedContent) -> None:
        if item.type:
            self._last = item

    def close(self, content: EncodedContent) -> None:
        if not self.result.done():
            self.result.set_result(self._last)


def host_left(host: Participant, waiting_for: str) -> ConnectionLostError:
    """The error that the callers of a host get when it leaves."""
    return ConnectionLostError(f"{host.name} left the room before it answered {waiting_for}")
