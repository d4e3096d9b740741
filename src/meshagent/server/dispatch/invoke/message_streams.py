"""`messaging.stream`: a stream between two participants, brokered by the server (spec room-protocol-current 2.7).

To the target it is a call of the toolkit `messaging`, to the caller a stream that begins with `accepted`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from meshagent.api import jsontext
from meshagent.api.contracts.agents import RegisteredTool
from meshagent.api.errors import ConnectionLostError, InvalidRequestError, NotFoundError, RoomException
from meshagent.server.dispatch.invoke.messages import close_chunk, json_chunk
from meshagent.server.dispatch.invoke.output import CallerOutput
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.dispatcher import Caller
from meshagent.server.kernel.operations import PackedContent
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.agents.pending_calls import Chunk, HostLink, ToolCall
from meshagent.server.services.agents.registry import HostedToolkit
from meshagent.server.services.agents.tool_calls import ToolCalls

_OPEN_ARGUMENTS = b'{"type":"control","method":"open"}'


class _First(msgspec.Struct, frozen=True, kw_only=True):
    to_participant_id: str
    type: str
    message_json: str = "{}"
    attachment_base64: str | None = None


class _FirstContent(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    json: msgspec.Raw = msgspec.Raw(b"{}")


class StreamCall:
    """The caller's end of one stream between participants."""

    def __init__(
        self, room: RoomContext, calls: ToolCalls, host_link: HostLink, caller: Participant, output: CallerOutput
    ) -> None:
        self._room = room
        self._calls = calls
        self._host_link = host_link
        self._caller = caller
        self._call: ToolCall | None = None
        self.output = output

    def chunk(self, chunk: Chunk) -> None:
        if self._call is not None:
            self._calls.input(self._call, chunk)
            return
        content = jsontext.decode(chunk.header, _FirstContent)
        if content.type != "json":
            raise InvalidRequestError("a message stream begins with a json chunk that names the participant")
        self._open(jsontext.decode(bytes(content.json), _First))

    def abandon(self) -> None:
        """The tool calls tell the target that the caller is gone."""

    def _open(self, first: _First) -> None:
        self._caller.scope.require_messaging("send")
        target = self._room.participants.get(first.to_participant_id)
        if target is None:
            raise NotFoundError("the participant was not found")
        toolkit = HostedToolkit(
            host=target,
            name="messaging",
            title=None,
            description=None,
            thumbnail_url=None,
            public=False,
            tools={"stream": RegisteredTool()},
            link=self._host_link,
        )
        link = _CallerEnd(self.output)
        self._call = link.call = self._calls.begin(
            self._caller,
            toolkit,
            "stream",
            arguments=_OPEN_ARGUMENTS,
            is_content=True,
            payload=b"",
            link=link,
            on_behalf_of_id=None,
            streams_input=True,
        )
        opening = {
            "from_participant_id": self._caller.id,
            "type": first.type,
            "message_json": first.message_json,
            "attachment_base64": first.attachment_base64,
        }
        self._calls.input(self._call, json_chunk(opening))


class _CallerEnd:
    """What comes of the stream, on its way to its caller (a `CallerLink`)."""

    def __init__(self, output: CallerOutput) -> None:
        self._output = output
        self.call: ToolCall | None = None

    def answered(self, content: PackedContent) -> None:
        self._output.answered(content)

    def opened(self) -> None:
        """Accepted: said in the target's own reader, so that nothing of the target's can overtake it."""
        assert self.call is not None
        self._output.open()
        self._output.send(json_chunk({"kind": "accepted", "stream_id": self.call.call_id}))

    def chunk(self, chunk: Chunk) -> None:
        self._output.send(chunk)

    def failed(self, error: RoomException) -> None:
        call = self.call
        if call is not None and call.has_opened and isinstance(error, ConnectionLostError):
            gone = {"kind": "client_disconnected", "participant_id": call.toolkit.host.id}
            self._output.send(json_chunk(gone))
            self._output.send(close_chunk())
        else:
            self._output.failed(error)


class MessageStreams:
    """Begins `messaging.stream` calls."""

    def __init__(self, room: RoomContext, calls: ToolCalls, host_link: HostLink) -> None:
        self._room = room
        self._calls = calls
        self._host_link = host_link

    def begin(self, caller: Caller, output: CallerOutput, spawn: Callable[..., Any]) -> StreamCall:
        return StreamCall(self._room, self._calls, self._host_link, caller.participant, output)
