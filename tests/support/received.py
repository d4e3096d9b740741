"""A message handler that records what it gets."""

from __future__ import annotations

import asyncio

from meshagent.api.transport.protocol import Protocol


class Received:
    """Register it for a type of messages; `messages` holds id, type and data of each."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, str, bytes]] = []
        self._changed = asyncio.Event()

    def __call__(self, protocol: Protocol, message_id: int, message_type: str, data: bytes) -> None:
        self.messages.append((message_id, message_type, data))
        self._changed.set()

    async def until(self, count: int) -> list[tuple[int, str, bytes]]:
        """Wait for `count` messages; returns all there are."""
        async with asyncio.timeout(5):
            while len(self.messages) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.messages
