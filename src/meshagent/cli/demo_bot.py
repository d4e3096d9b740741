"""`demo_bot`: keeps the chat bot of `meshagent serve --demo` in the demo room."""

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
    """For the length of the block, let the demo bot join the demo room whenever that room starts."""
    bot = DemoBotSessions(server)
    server.rooms.starts.listen(bot.room_started)
    try:
        yield
    finally:
        await bot.close()


class DemoBotSessions:
    """Lets the demo bot join each session of the demo room in the default project.

    The bot is an ordinary participant: it joins through the loopback interface with its own token, and leaves when
    the room ends.

    Args:
        server: The server. It must already accept connections.
    """

    def __init__(self, server: StartedServer) -> None:
        self._server = server
        self._sessions: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def room_started(self, room: RoomKey) -> None:
        """Join if the room is the demo room. Called for every room that starts."""
        from meshagent.agents.demo import DEMO_ROOM  # importing agents is slow, and only the demo needs them

        if self._is_closed or (room.project_id, room.room_name) != (self._server.identity.project_id, DEMO_ROOM):
            return
        session = asyncio.get_running_loop().create_task(self._run_session(room), name="demo bot")
        self._sessions.add(session)
        session.add_done_callback(self._sessions.discard)

    async def close(self) -> None:
        """Make the bot leave the room."""
        self._is_closed = True
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    async def _run_session(self, room: RoomKey) -> None:
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
            log.exception("demo bot failed")
