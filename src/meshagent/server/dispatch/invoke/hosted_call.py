"""Streams that go to a tool which a participant hosts."""

from __future__ import annotations

from meshagent.server.dispatch.contents import closes_stream
from meshagent.server.kernel.operations import EncodedContent
from meshagent.server.services.agents.hosting import ToolCall
from meshagent.server.services.agents.tool_calls import ToolCalls


class HostedInput:
    """The input of a stream, on its way to the host (a `StreamInput`).

    Args:
        calls: The room's tool calls.
        call: The call that the input belongs to.
    """

    __slots__ = ("_calls", "call")

    def __init__(self, calls: ToolCalls, call: ToolCall) -> None:
        self._calls = calls
        self.call = call

    def receive(self, item: EncodedContent) -> None:
        if closes_stream(item.header):
            self._calls.close_input(self.call, item)
        else:
            self._calls.send_input(self.call, item)

    def cancel(self) -> None:
        """Nothing to stop here: `ToolCalls` tells the host when the caller leaves."""
