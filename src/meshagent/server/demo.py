"""The demo room: whoever enters it finds a chat bot there, with no account and no key."""

from __future__ import annotations

import asyncio
import logging

from meshagent.server.accounts.tokens import TokenIssuer
from meshagent.server.addresses import Addresses
from meshagent.server.rooms.room import Room

log = logging.getLogger(__name__)


class DemoRoom:
    """Brings the demo bot into the demo room of the default project whenever somebody starts that room.

    The bot is an ordinary participant: it joins over the loopback interface with a token of its own, and leaves
    when the room ends.

    Args:
        project_id: The default project.
        tokens: Signs the bot's token.
        addresses: Where the server is.
    """

    def __init__(self, project_id: str, tokens: TokenIssuer, addresses: Addresses) -> None:
        self._project_id = project_id
        self._tokens = tokens
        self._addresses = addresses
        self._visits: set[asyncio.Task[None]] = set()

    def room_started(self, room: Room) -> None:
        """Told of every room that starts; most are none of its business."""
        from meshagent.agents.demo import DEMO_ROOM  # agents are heavy, and a server without a demo needs none

        if (room.project_id, room.name) != (self._project_id, DEMO_ROOM):
            return
        visit = asyncio.get_running_loop().create_task(self._visit(room.name), name="demo bot")
        self._visits.add(visit)
        visit.add_done_callback(self._visits.discard)

    async def close(self) -> None:
        """Take the bot out."""
        for visit in self._visits:
            visit.cancel()
        await asyncio.gather(*self._visits, return_exceptions=True)

    async def _visit(self, room_name: str) -> None:
        from meshagent.agents.demo import DEMO_BOT_NAME, DemoBot
        from meshagent.api.room.client import RoomClient
        from meshagent.api.transport.websocket import WebSocketClientProtocol

        try:
            token = await self._tokens.issue(self._project_id, room_name=room_name, name=DEMO_BOT_NAME, role="agent")
            protocol = WebSocketClientProtocol(url=f"{self._addresses.local}/rooms/{room_name}", token=token)
            async with RoomClient(protocol=protocol, auto_reconnect=False) as client:
                bot = DemoBot()
                await bot.start(room=client)
                try:
                    await client.wait_for_close()
                finally:
                    await bot.stop()
        except Exception:
            log.exception("the demo bot could not stay in its room")
