"""Calls on their way: who asked, who is to answer, and what happens when one of them leaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from meshagent.api import jsontext
from meshagent.api.contracts.operation import EMPTY, Empty
from meshagent.api.errors import ConnectionLostError, RoomException
from meshagent.server.kernel.operations import PackedContent
from meshagent.server.kernel.participant import Participant

if TYPE_CHECKING:
    from meshagent.server.services.agents.registry import HostedToolkit

ResultT = TypeVar("ResultT")


class ContentKind(msgspec.Struct, frozen=True):
    """What routing needs to know of a content's header."""

    type: str = ""
    method: str | None = None

    @property
    def opens(self) -> bool:
        return self.type == "control" and self.method == "open"

    @property
    def closes(self) -> bool:
        return self.type == "control" and self.method == "close"


class Chunk(NamedTuple):
    """One item of a stream: a content's header as JSON text, and its payload."""

    header: bytes
    payload: bytes = b""

    @property
    def kind(self) -> ContentKind:
        """Its kind; items that are no contents, such as progress events, have none."""
        try:
            return jsontext.decode(self.header, ContentKind)
        except RoomException:
            return ContentKind()

    def packed(self) -> PackedContent:
        """The item as a content of its own."""
        return PackedContent(len(self.header).to_bytes(8, "big") + self.header + self.payload)


CLOSE = Chunk(b'{"type":"control","method":"close","status_code":1000}')


class CallerLink(Protocol):
    """The caller's end of a call, in whichever dialect it speaks; nothing here may wait or raise."""

    def answered(self, content: PackedContent) -> None:
        """The host's one answer; the call is over."""
        ...

    def failed(self, error: RoomException) -> None:
        """The call is over without an answer, or in the middle of a stream."""
        ...

    def opened(self) -> None:
        """The host answers with a stream."""
        ...

    def chunk(self, chunk: Chunk) -> None:
        """One item of it; a control close is the last."""
        ...


class HostLink(Protocol):
    """The host's end of a call, in whichever dialect it registered."""

    def forward(self, call: ToolCall) -> int:
        """Hand the call to the host; the message id under which it will answer.

        Raises:
            UnavailableError: The call streams its input, and this host's dialect cannot.
        """
        ...

    def forward_input(self, call: ToolCall, chunk: Chunk) -> None:
        """Hand on one item of the input."""
        ...


@dataclass(slots=True, eq=False, kw_only=True)
class ToolCall:
    """One call of a tool that a participant hosts.

    Attributes:
        call_id: The server's own name for it; two callers' names can be the same.
        arguments: JSON text: a content's header if `is_content`, else bare arguments.
        streams_input: Whether items follow.
    """

    call_id: str
    caller: Participant
    toolkit: HostedToolkit
    tool: str
    arguments: bytes
    is_content: bool
    payload: bytes
    link: CallerLink
    on_behalf_of_id: str | None = None
    caller_context: dict[str, Any] | None = None
    streams_input: bool = False
    input_closed: bool = False
    has_opened: bool = False
    message_id: int = -1
    started_at: float = field(default_factory=time.monotonic)

    @property
    def key(self) -> Hashable:
        """What the host's answers are matched by: its connection and the message id (spec 5.5.5)."""
        return (self.toolkit.host.id, self.message_id)

    @property
    def what(self) -> str:
        """The call's name in texts."""
        return f"{self.toolkit.name}.{self.tool}"


class FutureLink:
    """The end of a caller that takes one answer; of a stream it gets the last item."""

    __slots__ = ("_last", "result")

    def __init__(self) -> None:
        self.result: asyncio.Future[PackedContent | Empty] = asyncio.get_running_loop().create_future()
        self._last: PackedContent | Empty = EMPTY

    def answered(self, content: PackedContent) -> None:
        if not self.result.done():
            self.result.set_result(content)

    def failed(self, error: RoomException) -> None:
        if not self.result.done():
            self.result.set_exception(error)

    def opened(self) -> None:
        pass

    def chunk(self, chunk: Chunk) -> None:
        kind = chunk.kind
        if kind.closes:
            if not self.result.done():
                self.result.set_result(self._last)
        elif kind.type:
            self._last = chunk.packed()


@dataclass(frozen=True, slots=True)
class _PendingAsk(Generic[ResultT]):
    caller: Participant
    host: Participant
    what: str
    result: asyncio.Future[ResultT]


class PendingAsks(Generic[ResultT]):
    """Asks that wait for their agents, by task id."""

    def __init__(self) -> None:
        self._asks: dict[str, _PendingAsk[ResultT]] = {}

    def add(self, task_id: str, caller: Participant, host: Participant, what: str) -> asyncio.Future[ResultT]:
        """Wait for an answer; `what` names the ask in errors."""
        result: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        self._asks[task_id] = _PendingAsk(caller, host, what, result)
        return result

    def finish(self, task_id: str, host: Participant, outcome: ResultT | RoomException) -> bool:
        """Hand an answer or a failure over; False if `host` owes none, or nobody waits for it any more."""
        ask = self._asks.get(task_id)
        if ask is None or ask.host is not host:
            return False
        del self._asks[task_id]
        if ask.result.done():
            return False
        if isinstance(outcome, RoomException):
            ask.result.set_exception(outcome)
        else:
            ask.result.set_result(outcome)
        return True

    def left(self, participant: Participant) -> None:
        """Free the callers of a host that is gone, and forget the asks of a caller that is gone."""
        for task_id, ask in list(self._asks.items()):
            if ask.host is participant:
                del self._asks[task_id]
                if not ask.result.done():
                    ask.result.set_exception(host_left(participant, ask.what))
            elif ask.caller is participant:
                del self._asks[task_id]
                ask.result.cancel()


def host_left(host: Participant, what: str) -> ConnectionLostError:
    """What callers of a host that is gone are told."""
    return ConnectionLostError(f"{host.name} left the room before it answered {what}")
