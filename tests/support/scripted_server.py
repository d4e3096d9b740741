"""A room server that a test writes itself: it answers requests by a script and records what it was sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Self

from meshagent.api.contracts.content import Body, EmptyBody, ErrorBody, JsonBody
from meshagent.api.transport.chan import Chan
from meshagent.api.transport.memory import MemoryClientProtocol, MemoryServerProtocol
from meshagent.api.transport.protocol import ClientProtocol, Protocol
from meshagent.api.wire import envelope
from meshagent.api.wire.packets import Message

Reply = Callable[[dict[str, Any], bytes], Any]
"""Takes a request's header and payload; returns a content, a dict for JSON, None for empty, or an awaitable of these.

`NO_ANSWER` leaves the request without an answer."""

NO_ANSWER = object()


class ScriptedServer:
    """The server's end of one connection.

    Attributes:
        requests: (type, header, payload) of everything that was received, in order.
        replies: How requests are answered, by type; `empty` for all others.
        follow_ups: What is done after the answer, by type.
    """

    def __init__(self, protocol: Protocol, *, participant_id: str = "me", session_id: str = "s1") -> None:
        self.protocol = protocol
        self.participant_id = participant_id
        self.session_id = session_id
        self.requests: list[tuple[str, dict[str, Any], bytes]] = []
        self.replies: dict[str, Reply] = {}
        self.follow_ups: dict[str, Callable[[dict[str, Any], bytes], Awaitable[None]]] = {}
        self.greets = True
        self._received = asyncio.Condition()
        self._stack = AsyncExitStack()
        protocol.register_handler("*", self._on_message)

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.protocol)
        if self.greets:
            await self.greet()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def greet(self) -> None:
        """Say what the server says when somebody joins."""
        await self.event(
            "connected", {"type": "init", "participantId": self.participant_id, "attributes": {"name": "alice"}}
        )
        await self.event(
            "room_ready", {"room_name": "my-room", "room_url": "ws://x/rooms/my-room", "session_id": self.session_id}
        )

    async def event(self, message_type: str, header: dict[str, Any], payload: bytes = b"") -> None:
        """Send something that nobody asked for."""
        await self.protocol.send(message_type, envelope.pack(header, payload))

    async def message(self, sender: str, kind: str, message: Any, attachment: bytes = b"") -> None:
        """Send a message as from a participant."""
        header = {"from_participant_id": sender, "type": kind, "message": message}
        await self.event("messaging.send", header, attachment)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition on what was received holds."""
        async with asyncio.timeout(5), self._received:
            await self._received.wait_for(condition)

    async def until_received(self, message_type: str, count: int = 1) -> list[tuple[dict[str, Any], bytes]]:
        """Wait for `count` messages of a type; returns header and payload of all of them."""
        await self.until(lambda: len(self.received(message_type)) >= count)
        return self.received(message_type)

    def received(self, message_type: str) -> list[tuple[dict[str, Any], bytes]]:
        """Header and payload of the messages of a type so far."""
        return [(header, payload) for kind, header, payload in self.requests if kind == message_type]

    async def _on_message(self, protocol: Protocol, message_id: int, message_type: str, data: bytes) -> None:
        header, payload = envelope.unpack(data)
        async with self._received:
            self.requests.append((message_type, header, payload))
            self._received.notify_all()
        if message_type in ("set_attributes", "agent.tool_call_response", "agent.ask_response"):
            return
        try:
            script = self.replies.get(message_type)
            reply = None if script is None else script(header, payload)
            if isinstance(reply, Awaitable):
                reply = await reply
        except Exception as error:  # noqa: BLE001 - the script's way to refuse
            reply = ErrorBody(text=str(error), code=getattr(error, "wire_code", None))
        if reply is not NO_ANSWER:
            await protocol.send("__response__", _content(reply).pack(), message_id)
        if (follow_up := self.follow_ups.get(message_type)) is not None:
            await follow_up(header, payload)


def _content(reply: Any) -> Body:
    if isinstance(reply, Body):
        return reply
    return EmptyBody() if reply is None else JsonBody(json=reply)


def memory_pair() -> tuple[MemoryClientProtocol, MemoryServerProtocol]:
    """Two ends of one connection."""
    up: Chan[bytes] = Chan(64)
    down: Chan[bytes] = Chan(64)
    client = MemoryClientProtocol(input=down, output=up, token="token")
    return client, MemoryServerProtocol(input=up, output=down)


class BreakableProtocol(ClientProtocol):
    """A client's end whose connections a test makes and breaks; it can connect again, like a WebSocket.

    Attributes:
        servers: The server's end of each connection, in order.
        attempts: How often connecting was tried.
        on_connect: Called with the number of the attempt, from 1, before each connection; may raise, or prepare
            the server that it is given.
    """

    can_reopen = True

    def __init__(self, on_connect: Callable[[int, ScriptedServer], None] | None = None) -> None:
        super().__init__(token="token")
        self.servers: list[ScriptedServer] = []
        self.attempts = 0
        self.on_connect = on_connect
        self.end_code = 1006
        self._down: Chan[bytes] = Chan()
        self._up: Chan[bytes] = Chan()

    @property
    def server(self) -> ScriptedServer:
        """The latest connection's server."""
        return self.servers[-1]

    async def open_transport(self) -> None:
        self.attempts += 1
        self._down, self._up = Chan(), Chan()
        server = ScriptedServer(
            MemoryServerProtocol(input=self._up, output=self._down), participant_id=f"me{self.attempts}"
        )
        if self.on_connect is not None:
            self.on_connect(self.attempts, server)
        await server.__aenter__()
        self.servers.append(server)

    async def read_packets(self) -> int:
        async for packet in self._down:
            self.receive_packet(packet)
        return self.end_code

    async def send_packet(self, data: bytes) -> None:
        await self._up.send(data)

    async def close_transport(self) -> None:
        self._down.close()
        self._up.close()
        if self.servers:
            await self.server.__aexit__()

    def break_connection(self, code: int = 1006) -> None:
        """End the connection as from outside, with a close code."""
        self.end_code = code
        self._down.close()


__all__ = ["NO_ANSWER", "BreakableProtocol", "Message", "ScriptedServer", "memory_pair"]
