"""The demo room of `meshagent serve --demo`: whoever enters it finds a chat bot there, with no account and no key."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from meshagent.server.app import StartedServer
from meshagent.server.kernel.room_key import RoomKey

log = logging.getLogger(__name__)


@asynccontextmanager
async def demo_bot(server: StartedServer) -> AsyncIterator[None]:
    """Bring the demo bot into the demo room whenever somebody starts that room, for the length of the block."""
    bot = DemoBotVisits(server)
    server.rooms.starts.listen(bot.room_started)
    try:
        yield
    finally:
        await bot.close()


class DemoBotVisits:
    """The demo bot's stays in the demo room of the default project.

    The bot is an ordinary participant: it joins over the loopback interface with a token of its own, and leaves
    when the room ends.

    Args:
        server: The server, which accepts connections.
    """

    def __init__(self, server: StartedServer) -> None:
        self._server = server
        self._visits: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def room_started(self, room: RoomKey) -> None:
        """Told of every room that starts; most are none of its business."""
        from meshagent.agents.demo import DEMO_ROOM  # agents are heavy, and a server without a demo needs none

        if self._is_closed or (room.project_id, room.room_name) != (self._server.identity.project_id, DEMO_ROOM):
            return
        visit = asyncio.get_running_loop().create_task(self._visit(room), name="demo bot")
        self._visits.add(visit)
        visit.add_done_callback(self._visits.discard)

    async def close(self) -> None:
        """Take the bot out."""
        self._is_closed = True
        for visit in self._visits:
            visit.cancel()
        await asyncio.gather(*self._visits, return_exceptions=True)

    async def _visit(self, room: RoomKey) -> None:
        from meshagent.agents.demo import DEMO_BOT_NAME, DemoBot
        from meshagent.api.room.client import RoomClient
        from meshagent.api.transport.websocket import WebSocketClientProtocol

        try:
            token = await self._server.accounts.tokens.issue(
                room.project_id, room_name=room.room_name, name=DEMO_BOT_NAME, role="agent"
            )
            url = f"{self._server.local_url}/rooms/{room.room_name}"
            protocol = WebSocketClientProtocol(url=url, token=token)
            async with RoomClient(protocol=protocol, auto_reconnect=False) as client:
                bot = DemoBot()
                await bot.start(room=client)
                try:
                    await client.wait_for_close()
                finally:
                    await bot.stop()
        except Exception:
            log.exception("the demo bot could not stay in its room")
