"""`meshagent serve`: start the server."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Final, Literal, Protocol

import typer
from rich.console import Console
from rich.markup import escape

from meshagent.api.profile import profile_path
from meshagent.api.version import __version__
from meshagent.cli.output import CommandError
from meshagent.server.config import ServerConfig
from meshagent.server.config_sources import ConfigError, load_config
from meshagent.server.identity import IdentityError, ServerIdentity, publish_profile

if TYPE_CHECKING:
    from meshagent.server.app import StartedServer

FIRST_PROGRAM: Final = """\
import asyncio
from meshagent.api import RoomClient, websocket_protocol

async def main():
    async with RoomClient(protocol=websocket_protocol(participant_name="alice", room_name="hello")) as room:
        async with room.storage.open(path="hello.txt", overwrite=True) as file:
            await file.write(b"Hello, room!")
        print([entry.name for entry in await room.storage.list(path="")])

asyncio.run(main())
"""


class ServeError(CommandError):
    """The server cannot start. The text says what to fix."""


class AnnouncedServer(Protocol):
    """What `announce` needs of a server that accepts requests."""

    @property
    def port(self) -> int: ...

    @property
    def identity(self) -> ServerIdentity: ...


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; 0.0.0.0 means all interfaces.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 chooses a free one.")] = None,
    data: Annotated[Path | None, typer.Option(help="Data folder.")] = None,
    config: Annotated[Path | None, typer.Option(envvar="MESHAGENT_CONFIG", help="TOML file with settings.")] = None,
    public_url: Annotated[str | None, typer.Option(help="URL under which users reach the server.")] = None,
    durability: Annotated[
        Literal["fsync", "process"] | None,
        typer.Option(help="Whether acknowledged writes survive a power failure."),
    ] = None,
    demo: Annotated[bool | None, typer.Option(help="Run a chat bot in the room `demo`.")] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None, typer.Option(help="Minimum severity of log messages.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other setting; repeatable.")
    ] = None,
) -> None:
    """Start a server. The first start creates a project and an API key. See docs/reference/configuration.md."""
    flags = {
        "host": host,
        "port": port,
        "data_dir": data,
        "public_url": public_url,
        "durability": durability,
        "demo": demo,
        "log_level": log_level,
    }
    try:
        server_config = load_config(flags=flags, overrides=settings or (), environ=os.environ, file=config)
    except ConfigError as error:
        raise ServeError(str(error)) from None
    _run(server_config)


def _run(config: ServerConfig) -> None:
    """Serve until stopped; ServeError if the server cannot start."""
    server = _load_server()
    is_started = False

    @asynccontextmanager
    async def beside(started: StartedServer) -> AsyncIterator[None]:
        nonlocal is_started
        is_started = True
        async with _companion(started, config):
            announce(started, config, Console(highlight=False))
            yield

    try:
        server.run_server(config, beside)
    except (IdentityError, server.DataFolderInUseError, OSError) as error:
        if is_started:
            raise
        raise ServeError(f"cannot start the server: {error}") from error


def _companion(started: StartedServer, config: ServerConfig) -> AbstractAsyncContextManager[None]:
    """What the command adds to the server."""
    if not config.demo:
        return nullcontext()
    from meshagent.cli.demo_bot import demo_bot

    return demo_bot(started)


def _load_server() -> ModuleType:
    """Import the server only here, because other commands work without the extra `server`."""
    try:
        return import_module("meshagent.server.app")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "meshagent":
            raise
        raise ServeError(
            f"the server is not installed (no module {error.name!r}): pip install 'openmeshagent[server]'"
        ) from None


def announce(started: AnnouncedServer, config: ServerConfig, console: Console) -> None:
    """Print the server's URL, write the profile, and show the secrets of a new server once."""
    identity = started.identity
    profile = publish_profile(identity, config.local_url(started.port))
    lines = [("url", config.base_url(started.port)), ("project", identity.project_id), ("key", identity.key_id)]
    if identity.is_new:
        lines.append(("secret", f"{identity.secret}  (shown only once)"))
    if identity.is_new and config.admin_token is None:
        lines.append(("admin", f"{identity.admin_token}  (REST API token; shown only once)"))
    lines.append(("data", str(config.data_dir)))
    if profile is not None:
        lines.append(("profile", f"{profile}  (API key for your programs; readable by you only)"))
    else:
        lines.append(("profile", f"not written to {profile_path()}: the API key is set in the configuration"))
    console.print(f"[bold green]openmeshagent {__version__} is ready.[/] Press Ctrl+C to stop.\n")
    for label, value in lines:
        console.print(f"  [bold]{label:<8}[/] {escape(value)}", soft_wrap=True)
    console.print("\n[bold]Try next[/], in another terminal, with Python from this environment:\n")
    for line in FIRST_PROGRAM.splitlines():
        console.print(f"  {escape(line)}", soft_wrap=True)
    if config.demo:
        console.print("\nor chat with the bot in the demo room: [bold]meshagent chat --room demo[/]")
    console.print("\n`meshagent env` prints variables for other machines; `meshagent --help` lists all commands.")
