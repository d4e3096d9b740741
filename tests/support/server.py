"""A real server for the tests of this project: `meshagent.testing`, with its data where the test says."""

from __future__ import annotations

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
    """Wait until no room runs any more."""
    await server.until_rooms_ended(timeout=5.0)
