"""What the hosts of tools answer, in either dialect, on its way to the room's tool calls."""

from __future__ import annotations

import msgspec

from meshagent.api import jsontext
from meshagent.api.wire import envelope
from meshagent.api.wire.packets import Message
from meshagent.server.dispatch.contents import closes_stream, failure_text, opens_stream
from meshagent.server.kernel.operations import EncodedContent
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.agents.tool_calls import ToolCalls


class _ItemHeader(msgspec.Struct, frozen=True):
    chunk: msgspec.Raw


class HostAnswers:
    """Takes the messages by which hosts answer calls. They get no answer themselves.

    Args:
        calls: The room's tool calls.
    """

    def __init__(self, calls: ToolCalls) -> None:
        self._calls = calls

    def answer(self, host: Participant, message: Message) -> None:
        """The answer to a call; `control open` says that a stream is the answer."""
        content = _without_extension(*envelope.split(message.data))
        if opens_stream(content.header):
            self._calls.host_opened(host, message.id)
        else:
            self._calls.host_answered(host, message.id, content, failure_text(content.header))

    def item(self, host: Participant, message: Message) -> None:
        """One item of a stream that answers a call; `control close` is its end."""
        text, payload = envelope.split(message.data)
        item = EncodedContent(bytes(jsontext.decode(text, _ItemHeader).chunk), payload)
        if closes_stream(item.header):
            self._calls.host_closed(host, message.id, item)
        else:
            self._calls.host_sent(host, message.id, item)


def _without_extension(header: bytes, payload: bytes) -> EncodedContent:
    """A host's content without its tracing block, which belongs to the host's own connection."""
    if envelope.EXTENSION_KEY.encode() in header:
        decoded = jsontext.loads(header)
        if isinstance(decoded, dict) and decoded.pop(envelope.EXTENSION_KEY, None) is not None:
            header = jsontext.dumps(decoded)
    return EncodedContent(header, payload)
