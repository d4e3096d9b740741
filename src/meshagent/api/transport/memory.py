"""Both ends of a connection in one process, connected by two channels of bytes: for tests and embedded rooms."""

from __future__ import annotations

from meshagent.api.transport.chan import Chan, ChanClosed
from meshagent.api.transport.protocol import ClientProtocol, Protocol
from meshagent.api.wire.close_codes import CloseCode

__all__ = ["MemoryClientProtocol", "MemoryServerProtocol"]


class _ChannelTransport(Protocol):
    """Packets go out by one channel and come in by another."""

    _input: Chan[bytes]
    _output: Chan[bytes]

    async def read_packets(self) -> int:
        async for packet in self._input:
            self.receive_packet(packet)
        return CloseCode.NORMAL

    async def send_packet(self, data: bytes) -> None:
        try:
            await self._output.send(data)
        except ChanClosed as error:
            raise BrokenPipeError(str(error)) from None

    async def close_transport(self) -> None:
        self._input.close()
        self._output.close()


class MemoryServerProtocol(_ChannelTransport):
    """The room's end. It can be entered once: its channels close with it."""

    def __init__(self, *, input: Chan[bytes], output: Chan[bytes]) -> None:
        super().__init__()
        self._input = input
        self._output = output


class MemoryClientProtocol(ClientProtocol, _ChannelTransport):
    """The participant's end. It can be entered once: its channels close with it."""

    def __init__(self, *, input: Chan[bytes], output: Chan[bytes], token: str) -> None:
        super().__init__(token=token)
        self._input = input
        self._output = output
