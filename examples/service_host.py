"""Two external services at one address, to be invited into rooms. Stop it with Ctrl+C.

python service_host.py 8091
meshagent call tool --room examples --url http://127.0.0.1:8091/clock

A project can invite its services into every room: see docs/reference/protocol/15-webhooks.md.
"""

import asyncio
import sys
from datetime import UTC, datetime

from meshagent.api import RoomClient, RoomMessage, ServiceHost
from meshagent.tools import RemoteToolkit, tool

host = ServiceHost(host="127.0.0.1", port=sys.argv[1] if len(sys.argv) > 1 else 8091)


@tool
async def now() -> dict[str, str]:
    """Get the current time in UTC."""
    return {"now": datetime.now(UTC).isoformat()}


@host.path("/clock")
class Clock(RemoteToolkit):
    """A toolkit that returns the time."""

    def __init__(self) -> None:
        super().__init__("clock", [now], description="Knows the time.")


@host.path("/echo")
class Echo:
    """Sends every message back to its sender."""

    async def start(self, *, room: RoomClient) -> None:
        self.room = room
        room.messaging.on("message", self.answer)
        await room.messaging.enable()

    async def answer(self, message: RoomMessage) -> None:
        await self.room.messaging.send_message(
            to=message.from_participant_id, type=message.type, message=message.message, attachment=message.attachment
        )

    async def stop(self) -> None:
        self.room.messaging.off("message", self.answer)


if __name__ == "__main__":
    asyncio.run(host.run())  # until Ctrl+C
