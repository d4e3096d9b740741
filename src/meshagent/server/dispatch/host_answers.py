"""What the hosts of tools answer, in either dialect, on its way to the room's tool calls."""

from __future__ import annotations

from typing import Final

import msgspec

from meshagent.api import jsontext
from meshagent.api.errors import InvalidRequestError, LimitExceededError
from meshagent.api.wire import envelope
from meshagent.api.wire.packets import Message
from meshagent.server.dispatch.contents import CONTROL_CLOSE, closes_stream, error_content, failure_text, opens_stream
from meshagent.server.kernel.json_cost import check_strict
from meshagent.server.kernel.operations import EncodedContent
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.agents.tool_calls import ToolCalls

_EXTENSION_KEY: Final = envelope.EXTENSION_KEY.encode()


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
        header, payload = envelope.split(message.data)
        try:
            check_strict(header)
        except LimitExceededError as error:
            self._calls.host_answered(host, message.id, error_content(error), str(error))
            return
        if _EXTENSION_KEY in header:
            header = _without_extension(header)
        if opens_stream(header):
            self._calls.host_opened(host, message.id)
        else:
            self._calls.host_answered(host, message.id, EncodedContent(header, payload), failure_text(header))

    def item(self, host: Participant, message: Message) -> None:
        """One item of a stream that answers a call; `control close` is its end."""
        text, payload = envelope.split(message.data)
        try:
            check_strict(text)
        except LimitExceededError as error:
            self._calls.host_sent(host, message.id, error_content(error))
            self._calls.host_closed(host, message.id, CONTROL_CLOSE)
            return
        item = EncodedContent(bytes(jsontext.decode(text, _ItemHeader).chunk), payload)
        if closes_stream(item.header):
            self._calls.host_closed(host, message.id, item)
        else:
            self._calls.host_sent(host, message.id, item)


def _without_extension(header: bytes) -> bytes:
    """A content's header without the tracing block, which belongs to the host's own connection."""
    try:
        members = jsontext.decode(header, dict[str, msgspec.Raw])
    except InvalidRequestError:
        return header
    if members.pop(envelope.EXTENSION_KEY, None) is None:
        return header
    return jsontext.dumps(members)
