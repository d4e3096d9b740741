"""What participants host, and a call of a hosted tool with its two ends."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from meshagent.api.contracts.agents import RegisterAgentRequest, RegisteredTool
from meshagent.api.errors import RoomException
from meshagent.server.kernel.operations import EncodedContent
from meshagent.server.kernel.participant import Participant


class JsonArguments(msgspec.Struct, frozen=True, gc=False):
    """Arguments of a tool that has a JSON schema.

    Attributes:
        json: The arguments as JSON text, which the host decodes.
        payload: Bytes that come with them.
    """

    json: bytes
    payload: bytes = b""


ToolInput = JsonArguments | EncodedContent
"""What a caller hands to a tool, in whichever form its dialect has; the host's end converts it where theirs differs."""


class CallerLink(Protocol):
    """The caller's end of a tool call: takes what the host answers. Nothing here may wait or raise."""

    def answer(self, content: EncodedContent) -> None:
        """The tool's one answer; the call is over."""
        ...

    def fail(self, error: RoomException) -> None:
        """The call is over without an answer, or in the middle of a stream."""
        ...

    def open(self) -> None:
        """The tool answers with a stream."""
        ...

    def send(self, item: EncodedContent) -> asyncio.Future[None] | None:
        """One item of that stream.

        Returns:
            None, or what is done when the caller has read enough for the host to send more.
        """
        ...

    def close(self, content: EncodedContent) -> None:
        """The end of the stream, in the host's own words; the call is over."""
        ...


class HostLink(Protocol):
    """The host's end of a tool call, in the dialect in which the host registered its toolkit."""

    def forward(self, call: ToolCall) -> int:
        """Hand the call to the host.

        Returns:
            The message id that the host's answers will have.

        Raises:
            UnavailableError: The call streams its input, and the host's dialect cannot.
            InvalidRequestError: The tool does not take such an input.
        """
        ...

    def forward_item(self, call: ToolCall, item: EncodedContent) -> None:
        """Hand on one item of the call's input."""
        ...

    def close_input(self, call: ToolCall, content: EncodedContent | None = None) -> None:
        """End the call's input, in the caller's own words if it has any."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedToolkit:
    """A toolkit that a participant hosts; calls of its tools go over `link`."""

    host: Participant
    name: str
    title: str | None = None
    description: str | None = None
    thumbnail_url: str | None = None
    public: bool = False
    tools: Mapping[str, RegisteredTool]
    link: HostLink
    annotations: Mapping[str, Any] = field(default_factory=dict)
    size: int = 0
    id: str = field(default_factory=lambda: str(uuid.uuid4()))


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedAgent:
    """An agent that a participant hosts."""

    host: Participant
    registration: RegisterAgentRequest
    size: int = 0
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def name(self) -> str:
        return self.registration.name


@dataclass(slots=True, eq=False, kw_only=True)
class ToolCall:
    """One call of a hosted tool, from `ToolCalls.start` to its end.

    Attributes:
        call_id: The server's own id for it; the ids that two callers choose can be the same.
        input: What the tool gets at the start.
        link: The caller's end.
        streams_input: Whether items follow, until `input_closed`.
        message_id: The id that the host's answers have.
        position: Where the call ends in all that the host was sent.
        was_answered: Whether the host has begun to answer.
        ended: Whether the caller has its answer, or nobody waits for one any more.
    """

    call_id: str
    caller: Participant
    toolkit: HostedToolkit
    tool: str
    input: ToolInput
    link: CallerLink
    on_behalf_of_id: str | None = None
    caller_context: dict[str, Any] | None = None
    streams_input: bool = False
    input_closed: bool = False
    message_id: int = -1
    position: int = 0
    was_answered: bool = False
    ended: bool = False
    started_at: float = field(default_factory=time.monotonic)

    @property
    def host(self) -> Participant:
        """The participant that hosts the tool."""
        return self.toolkit.host

    @property
    def full_name(self) -> str:
        """Toolkit and tool, for logs and errors."""
        return f"{self.toolkit.name}.{self.tool}"
