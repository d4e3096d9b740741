"""Keeping an agent in a room, run after run of the room."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from meshagent.api.hosting.paths import Portable
from meshagent.api.room.client import RoomClient

if TYPE_CHECKING:
    from meshagent.api.transport.protocol import Protocol

__all__ = ["rejoin_forever"]

log = logging.getLogger(__name__)

FIRST_DELAY: Final = 0.5
LAST_DELAY: Final = 30.0


async def rejoin_forever(
    make_protocol: Callable[[], Protocol],
    make_agent: Callable[[], Portable],
    *,
    on_started: Callable[[RoomClient], None] | None = None,
    first_delay: float = FIRST_DELAY,
) -> None:
    """Run an agent in a room until this is cancelled; it stops and leaves then.

    A room ends when the last person has left, and takes its agents with it. This joins again whenever that happens,
    and also when the server cannot be reached for a while.

    Args:
        make_protocol: Makes a connection to the room.
        make_agent: Gives the agent for the next stay: a new one, or the same again.
        on_started: Called each time that the agent has started.
        first_delay: Seconds before joining again; doubled after each failure, up to 30.

    Raises:
        Exception: The room refused the agent for good, or the agent cannot start; trouble that may pass is waited out.
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
            log.info("the room ended; joining it again")
        except Exception as error:
            if not protocol.is_temporary(error):
                raise
            log.info("the room cannot be joined now: %s", error)
        await asyncio.sleep(delay)
        delay = min(2 * delay, LAST_DELAY)
