"""`rejoin_forever`: keeps an agent in a room by joining again whenever the room ends or the connection fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from meshagent.api.hosting.paths import Startable
from meshagent.api.room.client import RoomClient

if TYPE_CHECKING:
    from meshagent.api.transport.protocol import Protocol

__all__ = ["rejoin_forever"]

log = logging.getLogger(__name__)

FIRST_DELAY: Final = 0.5
MAX_DELAY: Final = 30.0


async def rejoin_forever(
    make_protocol: Callable[[], Protocol],
    make_agent: Callable[[], Startable],
    *,
    on_started: Callable[[RoomClient], None] | None = None,
    first_delay: float = FIRST_DELAY,
) -> None:
    """Run an agent in a room until cancelled; the agent then stops and leaves.

    A room ends when its last user leaves, which disconnects its agents. This function then joins again, starting a
    new run of the room. It also retries while the server cannot be reached.

    Args:
        make_protocol: Creates a connection to the room.
        make_agent: Returns the agent for the next run: a new one, or the same one again.
        on_started: Called each time the agent has started.
        first_delay: Seconds before the first retry; doubled after each failure, up to 30.

    Raises:
        Exception: The server rejected the connection permanently, or the agent failed to start. Temporary failures
            are retried.
    """
    delay = first_delay
    while True:
        protocol = make_protocol()
        try:
            async with RoomClient(protocol=protocol) as room:
                agent = make_agent()
                await agent.start(room=room)
                delay = first_delay
                if on_started is not None:
                    on_started(room)
                try:
                    await room.wait_for_close()
                finally:
                    await agent.stop()
            log.info("the room ended; rejoining")
        except Exception as error:
            if not protocol.is_temporary(error):
                raise
            log.info("cannot join the room, will retry: %s", error)
        await asyncio.sleep(delay)
        delay = min(2 * delay, MAX_DELAY)
