"""A real server in this process, on a free port of the loopback interface."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr

from meshagent.api.tokens.scope import ApiScope
from meshagent.api.tokens.token import ParticipantToken
from meshagent.server.app import StartedServer, running_server
from meshagent.server.config import ServerConfig

PROJECT_ID = "test-project"
KEY_ID = "test-key"
SECRET = "a secret that only the tests know"


@dataclass(frozen=True, slots=True)
class TestServer:
    """A running server, and tokens for it."""

    __test__ = False

    started: StartedServer
    config: ServerConfig

    @property
    def url(self) -> str:
        """`http://127.0.0.1:port`."""
        return self.started.url

    @property
    def port(self) -> int:
        return self.started.port

    def room_url(self, room: str = "room") -> str:
        """The WebSocket URL of a room."""
        return f"{self.url.replace('http', 'ws', 1)}/rooms/{quote(room, safe='')}"

    def token(
        self,
        name: str = "alice",
        *,
        room: str | None = "room",
        role: str | None = None,
        scope: ApiScope | None = None,
        secret: str = SECRET,
    ) -> str:
        """A participant JWT; `room` None leaves the room grant out."""
        token = ParticipantToken(name=name, project_id=PROJECT_ID, api_key_id=KEY_ID)
        if room is not None:
            token.add_room_grant(room_name=room, role=role)
        if scope is not None:
            token.add_api_grant(scope)
        return token.to_jwt(secret=secret)


def server_config(data_dir: Path, **settings: Any) -> ServerConfig:
    """A configuration for tests: free port, known key, quick room ends where asked for."""
    return ServerConfig(
        **{
            "host": "127.0.0.1",
            "port": 0,
            "data_dir": data_dir,
            "project_id": PROJECT_ID,
            "key_id": KEY_ID,
            "secret": SecretStr(SECRET),
            "admin_token": SecretStr("test-admin-token"),
            "encryption_key": SecretStr("test-encryption-key"),
            **settings,
        }
    )


@asynccontextmanager
async def serve(data_dir: Path, **settings: Any) -> AsyncIterator[TestServer]:
    """A server with its data in `data_dir`, for the length of the block; `settings` go into its configuration."""
    config = server_config(data_dir, **settings)
    async with running_server(config) as started:
        yield TestServer(started, config)


async def rooms_ended(server: TestServer) -> None:
    """Wait until no room runs any more."""
    for _ in range(500):
        if not server.started.directory.rooms:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("a room goes on though nobody is in it")
