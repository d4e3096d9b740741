"""Tool calls between participants: from the caller's end to the host's and back, streams included."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Hashable
from typing import Any

import msgspec

from meshagent.api import jsontext
from meshagent.api.errors import InvalidRequestError, InvalidStateError
from meshagent.api.wire import envelope
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.operations import PackedContent
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.agents.pending_calls import CLOSE, CallerLink, Chunk, ToolCall, host_left
from meshagent.server.services.agents.registry import HostedToolkit


class ToolCalls:
    """The tool calls of one room that are under way."""

    def __init__(self, room: RoomContext) -> None:
        self._room = room
        self._calls: dict[Hashable, ToolCall] = {}
        self._run = uuid.uuid4().hex
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        return len(self._calls)

    def begin(
        self,
        caller: Participant,
        toolkit: HostedToolkit,
        tool: str,
        *,
        arguments: bytes,
        is_content: bool,
        payload: bytes,
        link: CallerLink,
        on_behalf_of_id: str | None,
        caller_context: dict[str, Any] | None = None,
        streams_input: bool = False,
    ) -> ToolCall:
        """Hand a call to the host of its toolkit; what comes of it goes to `link`.

        Raises:
            UnavailableError: The call streams its input, and the host's dialect cannot.
            InvalidRequestError: The arguments are not what the tool takes.
        """
        call = ToolCall(
            call_id=f"{self._run}-{next(self._numbers)}",
            caller=caller,
            toolkit=toolkit,
            tool=tool,
            arguments=arguments,
            is_content=is_content,
            payload=payload,
            link=link,
            on_behalf_of_id=on_behalf_of_id,
            caller_context=caller_context,
            streams_input=streams_input,
        )
        call.message_id = toolkit.link.forward(call)
        self._calls[call.key] = call
        return call

    def answer(self, host: Participant, message_id: int, data: bytes) -> None:
        """A host's answer: the content goes to the caller as it came; `control open` starts a stream."""
        call = self._calls.get((host.id, message_id))
        if call is None:
            return
        relayed = _relayed(data)
        header = envelope.split_header(relayed)
        if b'"control"' in header and Chunk(header).kind.opens:
            call.has_opened = True
            call.link.opened()
            return
        self._finish(call, _failure(header))
        call.link.answered(PackedContent(relayed))

    def answer_chunk(self, host: Participant, message_id: int, chunk: Chunk) -> None:
        """One item of a host's stream; items may come before the stream was opened (spec room-protocol-current 2.5)."""
        call = self._calls.get((host.id, message_id))
        if call is None:
            return
        if chunk.kind.closes:
            self._finish(call, None)
        call.link.chunk(chunk)

    def input(self, call: ToolCall, chunk: Chunk) -> None:
        """One item of a caller's stream.

        Raises:
            InvalidStateError: The call takes no input, or its input was closed.
        """
        if not call.streams_input or call.input_closed:
            raise InvalidStateError(f"the call of {call.what} takes no more input")
        if chunk.kind.closes:
            call.input_closed = True
        if call.key in self._calls:
            call.toolkit.link.forward_input(call, chunk)

    def left(self, participant: Participant) -> None:
        """Free the callers of a host that is gone; tell hosts when their caller is."""
        for call in list(self._calls.values()):
            if call.toolkit.host is participant:
                error = host_left(participant, call.what)
                self._finish(call, str(error))
                call.link.failed(error)
            elif call.caller is participant:
                self._finish(call, None)
                if call.streams_input and not call.input_closed:
                    call.toolkit.link.forward_input(call, CLOSE)

    def _finish(self, call: ToolCall, error: str | None) -> None:
        del self._calls[call.key]
        entry = {
            "caller_id": call.caller.id,
            "host_id": call.toolkit.host.id,
            "name": call.what,
            "duration": round(time.monotonic() - call.started_at, 6),
            "error": error,
        }
        self._room.record("tool.call", entry)


class _Failure(msgspec.Struct, frozen=True):
    type: str
    text: str = ""


def _failure(header: bytes) -> str | None:
    """What a host's content says went wrong, if it is an error."""
    if b'"error"' not in header:  # almost always
        return None
    try:
        content = jsontext.decode(header, _Failure)
    except InvalidRequestError:
        return "an error without a text"  # whoever called finds out what is wrong with it
    return content.text if content.type == "error" else None


def _relayed(data: bytes) -> bytes:
    """A host's content without the tracing block, which belongs to the host's own connection."""
    text, payload = envelope.split(data)
    if envelope.EXTENSION_KEY.encode() not in text:
        return data
    header, _ = envelope.unpack(data)
    return envelope.pack(header, payload)
