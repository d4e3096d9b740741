"""`messaging.stream`: a stream between two participants, brokered by the server (protocol 14.6).

To the target it is a call of the toolkit `messaging`, to the caller a stream that begins with `accepted`.
"""

from __future__ import annotations

import asyncio

import msgspec

from meshagent.api import jsontext
from meshagent.api.contracts.agents import RegisteredTool
from meshagent.api.errors import ConnectionLostError, InvalidRequestError, NotFoundError, RoomException
from meshagent.server.dispatch.contents import CONTROL_OPEN, ContentHeader, json_content
from meshagent.server.dispatch.invoke.hosted_call import HostedInput
from meshagent.server.dispatch.invoke.stream import Stream, StreamState
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.operations import EncodedContent
from meshagent.server.services.agents.hosting import HostedToolkit, HostLink
from meshagent.server.services.agents.tool_calls import ToolCalls


class _First(msgspec.Struct, frozen=True, kw_only=True):
    to_participant_id: str
    type: str
    message_json: str = "{}"
    attachment_base64: str | None = None


class MessageStream:
    """The caller's side of one stream between participants (a `StreamInput`, and the `CallerLink` of its call)."""

    def __init__(self, stream: Stream, room: RoomContext, calls: ToolCalls, host_link: HostLink) -> None:
        self._stream = stream
        self._room = room
        self._calls = calls
        self._host_link = host_link
        self._target: HostedInput | None = None

    # --- from the caller -----------------------------------------------------------------------------

    def receive(self, item: EncodedContent) -> None:
        if self._target is not None:
            self._target.receive(item)
            return
        content = jsontext.decode(item.header, ContentHeader)
        if content.type != "json":
            raise InvalidRequestError("a message stream must begin with a json chunk that names the participant")
        self._target = self._connect(jsontext.decode(bytes(content.json), _First))

    def cancel(self) -> None:
        """Nothing to stop here: `ToolCalls` tells the target when the caller leaves."""

    def _connect(self, first: _First) -> HostedInput:
        caller = self._stream.participant
        caller.scope.require_messaging("send")
        target = self._room.participants.get(first.to_participant_id)
        if target is None:
            raise NotFoundError("the participant was not found")  # clients compare this text
        toolkit = HostedToolkit(host=target, name="messaging", tools={"stream": RegisteredTool()}, link=self._host_link)
        call = self._calls.start(caller, toolkit, "stream", CONTROL_OPEN, self, streams_input=True)
        opening = {
            "from_participant_id": caller.id,
            "type": first.type,
            "message_json": first.message_json,
            "attachment_base64": first.attachment_base64,
        }
        self._calls.send_input(call, json_content(opening))
        return HostedInput(self._calls, call)

    # --- from the target -----------------------------------------------------------------------------

    def answer(self, content: EncodedContent) -> None:
        self._stream.answer(content)

    def open(self) -> None:
        """Accepted: said in the target's own reader, so that nothing of the target's can overtake it."""
        assert self._target is not None
        self._stream.open()
        self._stream.reply(json_content({"kind": "accepted", "stream_id": self._target.call.call_id}))

    def send(self, item: EncodedContent) -> asyncio.Future[None] | None:
        return self._stream.send(item)

    def close(self, content: EncodedContent) -> None:
        self._stream.close(content)

    def fail(self, error: RoomException) -> None:
        if (
            self._target is not None
            and self._stream.state is StreamState.OPEN
            and isinstance(error, ConnectionLostError)
        ):
            gone = {"kind": "client_disconnected", "participant_id": self._target.call.host.id}
            self._stream.reply(json_content(gone))
            self._stream.close()
        else:
            self._stream.fail(error)
