"""The URLs of a server."""

from __future__ import annotations

from urllib.parse import quote

from meshagent.server.config import ServerConfig
from meshagent.server.kernel.room_key import RoomKey


class Addresses:
    """Where the server is reached; complete once its port is known."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._port = config.port

    def listening_on(self, port: int) -> None:
        """Say which port it turned out to be."""
        self._port = port

    @property
    def public(self) -> str:
        """As its users see it, `http://host:port` or the configured public URL."""
        return self._config.base_url(self._port)

    @property
    def local(self) -> str:
        """As programs on this machine reach it."""
        return self._config.local_url(self._port)

    def own(self) -> tuple[str, ...]:
        """Every address that means this server."""
        return tuple({self.public, self.local, f"http://127.0.0.1:{self._port}", f"http://localhost:{self._port}"})

    def room_url(self, key: RoomKey) -> str:
        """The WebSocket URL of a room."""
        return "ws" + self.public.removeprefix("http") + "/rooms/" + quote(key.room_name, safe="")
