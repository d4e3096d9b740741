"""Hosts a toolkit that all participants of the room can call. Stop it with Ctrl+C."""

import asyncio
from contextlib import suppress

from meshagent.api import RoomClient, RoomException, websocket_protocol
from meshagent.tools import RemoteToolkit, tool


@tool
async def add(a: float, b: float) -> dict[str, float]:
    """Add two numbers.

    Args:
        a: First number.
        b: Second number.
    """
    return {"sum": a + b}


@tool
async def divide(a: float, b: float) -> dict[str, float]:
    """Divide `a` by `b`."""
    if b == 0:
        raise RoomException("nothing can be divided by 0")  # its text is what the caller reads
    return {"quotient": a / b}


async def main() -> None:
    protocol = websocket_protocol(participant_name="calculator", room_name="examples")
    toolkit = RemoteToolkit("math", [add, divide], description="Arithmetic with two numbers.")
    async with RoomClient(protocol=protocol) as room, toolkit.hosted(room):
        print("math is in the room", flush=True)
        await room.wait_for_close()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
