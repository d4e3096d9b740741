"""A real server for the tests of this project: `meshagent.testing`, with its data where the test says."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from meshagent.testing.server import KEY_ID, PROJECT_ID, SECRET, RoomServer, room_server, server_config

__all__ = ["KEY_ID", "PROJECT_ID", "SECRET", "TestServer", "rooms_ended", "serve", "server_config"]

TestServer = RoomServer


def serve(data_dir: Path, **settings: Any) -> AbstractAsyncContextManager[RoomServer]:
    """A server with its data in `data_dir`, for the length of the block; `settings` go into its configuration."""
    return room_server(data_dir=data_dir, **settings)


async def rooms_ended(server: RoomServer) -> None:
    """Wait until no room runs any more. Rooms that nobody is in end now, and not after `idle_grace` seconds."""
    directory = server.started.rooms.directory
    async with asyncio.timeout(30):
        while directory.rooms:
            for key, run in list(directory._runs.items()):
                if run.idle_timer is not None:
                    run.idle_timer.cancel()
                    directory._end_idle(key, run)
            await asyncio.sleep(0.01)
