"""`room_server`: a real server in this process, on a free port of the loopback interface."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

from aiohttp import web
from pydantic import SecretStr

from meshagent.api.accounts.client import AccountsClient
from meshagent.api.room.client import RoomClient
from meshagent.api.room.reconnect import ReconnectPolicy
from meshagent.api.tokens.scope import ApiScope
from meshagent.api.tokens.token import ParticipantToken
from meshagent.api.transport.websocket import WebSocketClientProtocol
from meshagent.llm.scripted import Script, ScriptedModel
from meshagent.llm.scripted_http import ScriptedEndpoint

try:
    from meshagent.server.app import StartedServer, running_server
    from meshagent.server.config import LlmSettings, ServerConfig
    from meshagent.server.kernel.loop_watch import Turn
    from meshagent.testing._accounts import prepare_accounts_database
except ModuleNotFoundError as error:
    if (error.name or "").startswith("meshagent"):
        raise
    raise ImportError(
        f"meshagent.testing needs the server, which lacks {error.name!r}: pip install 'openmeshagent[server]'",
        name=error.name,
    ) from error

__all__ = ["RoomServer", "room_server"]

PROJECT_ID: Final = "test-project"
KEY_ID: Final = "test-key"
SECRET: Final = "a secret that only tests know"  # noqa: S105 - it protects nothing
ADMIN_TOKEN: Final = "test-admin-token"  # noqa: S105 - it protects nothing
ENCRYPTION_KEY: Final = "test-encryption-key"

_RECONNECT: Final = ReconnectPolicy(initial_delay=0.01, max_delay=0.05)
_POLL_INTERVAL: Final = 0.01


class Agent(Protocol):
    """Whatever joins a room as an agent does: `SingleRoomAgent` and its subclasses."""

    async def start(self, *, room: RoomClient) -> None: ...

    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomServer:
    """A server that runs, and ways into its rooms. `room_server` makes it.

    Attributes:
        config: Its settings.
        started: The server's own objects, for tests of the server itself; they may change with any release.
        model: The scripted model behind the rooms' language model; None unless a script was given.
    """

    __test__ = False  # pytest collects no tests from it

    config: ServerConfig
    started: StartedServer
    model: ScriptedModel | None = None

    @property
    def url(self) -> str:
        """The base URL, `http://127.0.0.1:PORT`."""
        return self.started.url

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.started.port

    @property
    def project_id(self) -> str:
        """The default project, to which the rooms belong."""
        return self.started.identity.project_id

    @property
    def key_id(self) -> str:
        """The id of the default API key, which signs the tokens."""
        return self.started.identity.key_id

    @property
    def secret(self) -> str:
        """The secret of the default API key."""
        return self.started.identity.secret

    @property
    def admin_token(self) -> str:
        """The bearer token of the administrator, for the REST API."""
        return self.started.identity.admin_token

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that tell programs, and `meshagent`, of this server and its key."""
        return {
            "MESHAGENT_API_URL": self.url,
            "MESHAGENT_PROJECT_ID": self.project_id,
            "MESHAGENT_KEY_ID": self.key_id,
            "MESHAGENT_SECRET": self.secret,
        }

    async def longest_turn(self, *, reset: bool = False) -> Turn:
        """The turn of the event loop with the most CPU time so far, and the operation that caused it.

        Nobody else in the process is served during a turn. The server shares its loop with the test, whose own work
        counts too. CPU time and not the clock decides: on a busy machine the clock measures other programs.

        Args:
            reset: Forget the turns so far, so that the next call tells of what comes from now on.
        """
        watch = self.started.loop_watch
        await watch.settle()
        longest = watch.longest_by_cpu
        if reset:
            watch.reset()
        return longest

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
        secret: str | None = None,
    ) -> str:
        """A participant token (JWT).

        Args:
            name: The participant's name.
            room: The room it opens; None leaves the room grant out.
            role: `user` (as when None), `agent`, or another.
            scope: What it may do there; by default what the role may.
            secret: What it is signed with; by default the server's key.
        """
        token = ParticipantToken(name=name, project_id=self.project_id, api_key_id=self.key_id)
        if room is not None:
            token.add_room_grant(room_name=room, role=role)
        if scope is not None:
            token.add_api_grant(scope)
        return token.to_jwt(secret=self.secret if secret is None else secret)

    def join(
        self, name: str = "alice", *, room: str = "room", role: str | None = None, scope: ApiScope | None = None
    ) -> RoomClient:
        """A client of a room; enter it to join: `async with server.join("alice") as room`.

        The room is created when the first participant joins. An agent may do everything, if `scope` does not say less.
        Lost connections are tried again within milliseconds.
        """
        if role == "agent" and scope is None:
            scope = ApiScope.full()
        token = self.token(name, room=room, role=role, scope=scope)
        protocol = WebSocketClientProtocol(url=self.room_url(room), token=token)
        return RoomClient(protocol=protocol, reconnect=_RECONNECT)

    @asynccontextmanager
    async def running(self, agent: Agent, *, name: str = "agent", room: str = "room") -> AsyncIterator[RoomClient]:
        """An agent at work in a room for the length of the block, on a client of its own, which you get."""
        async with self.join(name, room=room, role="agent") as client:
            await agent.start(room=client)
            try:
                yield client
            finally:
                await agent.stop()

    def accounts(self) -> AccountsClient:
        """A client of the REST API with the administrator's rights: `async with server.accounts() as accounts`."""
        return AccountsClient(base_url=self.url, token=self.admin_token)

    async def until_rooms_ended(self, *, timeout: float = 10.0) -> None:
        """Wait until no room runs any more. A room ends `idle_grace` seconds after the last user has left.

        Raises:
            TimeoutError: A room still runs after `timeout` seconds.
        """
        async with asyncio.timeout(timeout):
            while self.started.rooms.directory.rooms:  # noqa: ASYNC110 - the end of a room is no event outside of it
                await asyncio.sleep(_POLL_INTERVAL)


@asynccontextmanager
async def room_server(
    *, data_dir: Path | None = None, model: ScriptedModel | Script | None = None, **settings: Any
) -> AsyncIterator[RoomServer]:
    """A real server for the length of the block; leaving it ends all rooms and closes all connections.

    It listens on a free port of 127.0.0.1 and has a known project, key and administrator's token.

    Args:
        data_dir: Where its data is, and stays; by default a temporary folder that is deleted.
        model: What the language model of its rooms says: a list of replies (`[say("Hello"), call("lookup", id=1)]`), a
            function of the request, or a `ScriptedModel`. By default the built-in model, which repeats what it is told.
        settings: Settings of the server (`ServerConfig`) that differ from the defaults, such as `idle_grace=0`.
            `durability` is `process` by default, because tests survive no power cut.

    Raises:
        pydantic.ValidationError: A setting is unknown or has a wrong value.
        DataFolderInUseError: Another server has the data folder.
    """
    async with AsyncExitStack() as stack:
        if data_dir is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="meshagent-", ignore_cleanup_errors=True))
            data_dir = Path(folder)
        if model is not None:
            model = model if isinstance(model, ScriptedModel) else ScriptedModel(model)
            settings["llm"] = await _llm_settings(model, settings.get("llm"), stack)
        config = server_config(data_dir, **settings)
        await asyncio.to_thread(prepare_accounts_database, config)
        started = await stack.enter_async_context(running_server(config))
        yield RoomServer(config=config, started=started, model=model)


def server_config(data_dir: Path, **settings: Any) -> ServerConfig:
    """The settings of a server for tests: a free port, known keys, and what `settings` say."""
    defaults = {
        "host": "127.0.0.1",
        "port": 0,
        "project_id": PROJECT_ID,
        "key_id": KEY_ID,
        "secret": SecretStr(SECRET),
        "admin_token": SecretStr(ADMIN_TOKEN),
        "encryption_key": SecretStr(ENCRYPTION_KEY),
        "durability": "process",
    }
    return ServerConfig(**{**defaults, "data_dir": data_dir, **settings})


async def _llm_settings(model: ScriptedModel, given: Any, stack: AsyncExitStack) -> LlmSettings:
    """Serve the model by HTTP until the stack ends, and add its address to the settings."""
    application = web.Application()
    application.add_routes(ScriptedEndpoint(model).routes("/v1"))
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    settings = LlmSettings.model_validate(given or {})
    return settings.model_copy(update={"base_url": f"http://{host}:{port}/v1", "api_key": SecretStr("scripted")})
