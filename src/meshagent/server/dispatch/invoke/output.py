"""A caller's end of a call in the invoke dialect."""

from __future__ import annotations

from collections.abc import Callable

from meshagent.api import jsontext
from meshagent.api.errors import RoomException
from meshagent.server.dispatch.invoke.messages import RESPONSE_CHUNK, close_chunk, error_chunk
from meshagent.server.kernel.dispatcher import Caller
from meshagent.server.kernel.operations import PackedContent
from meshagent.server.services.agents.pending_calls import Chunk
from meshagent.server.websocket.encoding import encode_message

_OPEN = Chunk(b'{"type":"control","method":"open"}').packed()


class CallerOutput:
    """Sends what comes of one call: an answer, or `open` and then chunks under the caller's own name for the call."""

    __slots__ = ("_caller", "_ended", "_frame_prefix", "_message_id", "_opened", "on_end")

    def __init__(self, caller: Caller, message_id: int, tool_call_id: str) -> None:
        self._caller = caller
        self._message_id = message_id
        self._opened = False
        self._ended = False
        self._frame_prefix = b'{"tool_call_id":' + jsontext.dumps(tool_call_id) + b',"chunk":'
        self.on_end: Callable[[], object] = _nothing

    def open(self) -> None:
        if not self._opened and not self._ended:
            self._opened = True
            self._caller.answer(self._message_id, _OPEN)

    opened = open

    def answered(self, content: PackedContent) -> None:
        if not self._ended:
            self._end()
            self._caller.answer(self._message_id, content)

    def failed(self, error: RoomException) -> None:
        """A failure before `open` is the answer; after it an error chunk, then a close."""
        if self._ended:
            return
        if self._opened:
            self.send(error_chunk(str(error), error.wire_code))
            self.send(close_chunk())
        else:
            self._end()
            self._caller.fail(self._message_id, error)

    def chunk(self, chunk: Chunk) -> None:
        self.send(chunk)

    def send(self, chunk: Chunk) -> None:
        if self._ended:
            return
        if b'"control"' in chunk.header and chunk.kind.closes:
            self._end()
        header = self._frame_prefix + chunk.header + b"}"
        data = len(header).to_bytes(8, "big") + header + chunk.payload
        self._caller.participant.outbox.deliver(encode_message(self._message_id, RESPONSE_CHUNK, data))

    async def ready(self) -> None:
        await self._caller.participant.outbox.sent()

    def _end(self) -> None:
        self._ended = True
        self.on_end()


def _nothing() -> None:
    """What happens at the end of a call that nobody keeps track of."""
