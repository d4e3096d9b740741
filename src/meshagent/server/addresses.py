"""The URLs of a server."""

from __future__ import annotations

from urllib.parse import quote

from meshagent.server.config import ServerConfig


class Addresses:
    """Where the server is reached.

    Args:
        config: Its configuration.
        port: The port that it listens on, also where the configuration asks for a free one.
    """

    def __init__(self, config: ServerConfig, port: int) -> None:
        self._config = config
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

    def room_url(self, project_id: str, room_name: str) -> str:
        """The WebSocket URL of a room; the token, and not the URL, says which project it is of."""
        return "ws" + self.public.removeprefix("http") + "/rooms/" + quote(room_name, safe="")
