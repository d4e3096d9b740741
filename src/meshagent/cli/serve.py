"""`meshagent serve`: start the server, and say how to reach it."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Final, Literal, Protocol

import typer
from rich.console import Console
from rich.markup import escape

from meshagent.api.profile import profile_path
from meshagent.api.version import __version__
from meshagent.cli.output import CommandError
from meshagent.server.config import ServerConfig
from meshagent.server.config_sources import ConfigError, load_config
from meshagent.server.identity import IdentityError, ServerIdentity, publish_profile

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
    """The server cannot start; the text says what to change."""


class StartedServer(Protocol):
    """What the server tells once it answers requests."""

    @property
    def port(self) -> int: ...

    @property
    def identity(self) -> ServerIdentity: ...


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; 0.0.0.0 is every interface.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder for everything that is kept.")] = None,
    config: Annotated[Path | None, typer.Option(envvar="MESHAGENT_CONFIG", help="TOML file with settings.")] = None,
    public_url: Annotated[str | None, typer.Option(help="The server's address as its users see it.")] = None,
    durability: Annotated[
        Literal["fsync", "process"] | None, typer.Option(help="What an acknowledged write survives.")
    ] = None,
    demo: Annotated[bool | None, typer.Option(help="Keep a chat bot in the room `demo`, to try things with.")] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None, typer.Option(help="Least severe message logged.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any setting; may be repeated.")
    ] = None,
) -> None:
    """Start a server. The first start makes a project and a key; docs/reference/configuration.md lists all settings."""
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
    """Serve until stopped; what keeps the server from starting is told in words."""
    server = _load_server()
    is_started = False

    def on_started(started: StartedServer) -> None:
        nonlocal is_started
        is_started = True
        announce(started, config, Console(highlight=False))

    try:
        server.run_server(config, on_started)
    except (IdentityError, server.DataFolderInUseError, OSError) as error:
        if is_started:
            raise
        raise ServeError(f"the server cannot start: {error}") from error


def _load_server() -> ModuleType:
    """The server's module, which is imported only here: other commands work without the server's parts."""
    try:
        return import_module("meshagent.server.app")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "meshagent":
            raise
        raise ServeError(
            f"the server's parts are not installed (no module {error.name!r}): pip install 'openmeshagent[server]'"
        ) from None


def announce(started: StartedServer, config: ServerConfig, console: Console) -> None:
    """Say where the server is, write the profile, and show a key that was made just now, this one time."""
    identity = started.identity
    profile = publish_profile(identity, config.local_url(started.port))
    lines = [("url", config.base_url(started.port)), ("project", identity.project_id), ("key", identity.key_id)]
    if identity.is_new:
        lines.append(("secret", f"{identity.secret}  (shown only this once)"))
    if identity.is_new and config.admin_token is None:
        lines.append(("admin", f"{identity.admin_token}  (opens the REST API; shown only this once)"))
    lines.append(("data", str(config.data_dir)))
    if profile is not None:
        lines.append(("profile", f"{profile}  (the key, for programs of this user; readable by you only)"))
    else:
        lines.append(("profile", f"not written to {profile_path()}: the key came from the configuration"))
    console.print(f"[bold green]openmeshagent {__version__} is ready.[/] Stop it with Ctrl+C.\n")
    for label, value in lines:
        console.print(f"  [bold]{label:<8}[/] {escape(value)}", soft_wrap=True)
    console.print("\n[bold]Try next[/], in another terminal, with this environment's python:\n")
    for line in FIRST_PROGRAM.splitlines():
        console.print(f"  {escape(line)}", soft_wrap=True)
    if config.demo:
        console.print("\nor talk to the bot in the demo room: [bold]meshagent chat --room demo[/]")
    console.print("\n`meshagent env` prints the variables for another machine; `meshagent --help` lists the rest.")
