"""Calls of the invoke dialect at wire level, from the shapes of the reference (protocol 14.1, protocol 14.2)."""

from __future__ import annotations

from typing import Any

from tests.support.wire_client import Received, WireClient

OPEN = {"type": "control", "method": "open"}
CLOSE = {"type": "control", "method": "close", "status_code": 1000}


async def invoke(client: WireClient, toolkit: str, tool: str, arguments: Any = None, **more: Any) -> Received:
    """A unary call of an area; its answer."""
    content = {"type": "empty"} if arguments is None else {"type": "json", "json": arguments}
    header = {"toolkit": toolkit, "tool": tool, "arguments": content, "participant_id": None, **more}
    return await client.request("room.invoke_tool", header)


class Stream:
    """One streaming call of a client."""

    def __init__(self, client: WireClient, call_id: str) -> None:
        self.client = client
        self.call_id = call_id
        self.request = -1

    @classmethod
    async def open(cls, client: WireClient, toolkit: str, tool: str, call_id: str = "call-1", **more: Any) -> Stream:
        stream = cls(client, call_id)
        header = {"toolkit": toolkit, "tool": tool, "arguments": OPEN, "tool_call_id": call_id, **more}
        stream.request = await client.send("room.invoke_tool", header)
        return stream

    async def send(self, chunk: dict[str, Any], payload: bytes = b"") -> None:
        """One chunk, acknowledged with exactly `empty`."""
        header = {"tool_call_id": self.call_id, "chunk": chunk}
        answer = await self.client.request("room.tool_call_request_chunk", header, payload)
        assert answer.header == {"type": "empty"}

    async def binary(self, payload: bytes = b"", **headers: Any) -> None:
        await self.send({"type": "binary", "headers": headers}, payload)

    async def close(self) -> None:
        await self.send(CLOSE)

    async def opened(self) -> None:
        assert (await self.client.answer(self.request)).header == OPEN

    async def next(self) -> tuple[dict[str, Any], bytes]:
        """The next chunk of the output."""
        event = await self.client.expect(
            "room.tool_call_response_chunk", lambda message: message.header["tool_call_id"] == self.call_id
        )
        assert set(event.header) == {"tool_call_id", "chunk"}
        return event.header["chunk"], event.payload

    async def closed(self) -> None:
        chunk, _ = await self.next()
        assert (chunk["type"], chunk["method"]) == ("control", "close")
