"""`meshagent call`: invite a service into a room."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from meshagent.cli.command import command
from meshagent.cli.context import RoomTarget, find_entry, named_room, room_session, sign_token
from meshagent.cli.output import UsageError, note
from meshagent.cli.values import parse_object, parse_yaml

app = typer.Typer(
    help="Invite an agent, a tool or a schema registry at a URL into a room. The four names are one command.",
    no_args_is_help=True,
)


@command(app, "agent")
async def agent(
    target: RoomTarget,
    url: Annotated[str, typer.Option(help="Where the service takes calls, such as http://localhost:8081/chat.")],
    participant_name: Annotated[
        str | None, typer.Option(help="The name under which it joins; by default the end of the URL.")
    ] = None,
    arguments: Annotated[str, typer.Option(help="What the service is told: a JSON object, @FILE, or -.")] = "{}",
    permissions: Annotated[Path | None, typer.Option(help="YAML or JSON file: the token's `api` scope.")] = None,
    local: Annotated[
        bool | None, typer.Option("--local/--remote", help="Who calls: this machine, or the server; by default by URL.")
    ] = None,
) -> None:
    """Invite the service at a URL into the room; returns when it has accepted."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"{url!r} is not an http URL")
    told = parse_object(arguments, "arguments")
    scope = None if permissions is None else parse_yaml(permissions, "permissions")
    name = participant_name or urlsplit(url).path.strip("/").replace("/", "-") or "agent"
    await invite(target, url=url, name=name, arguments=told, scope=scope, local=local)
    note(f"{url} was called into the room as {name}")


for _spelling in ("tool", "toolkit", "schema"):
    command(app, _spelling)(agent)


async def invite(
    target: RoomTarget,
    *,
    url: str,
    name: str,
    arguments: dict[str, Any] | None = None,
    scope: dict[str, Any] | None = None,
    role: str = "agent",
    local: bool | None = None,
) -> None:
    """Call the service at a URL into the room: from this machine, or by the server; errors as `post_call`.

    Raises:
        UsageError: A scope was given, and the server would make the call, and so the token.
    """
    if local if local is not None else await is_private(url):
        await post_call(target, url=url, name=name, arguments=arguments, scope=scope, role=role)
    elif scope is not None:
        raise UsageError("the server makes the token of a call that it sends: --permissions needs --local")
    else:
        async with room_session(target) as room:
            await room.agents.make_call(name=name, url=url, arguments=arguments or {})


async def post_call(
    target: RoomTarget,
    *,
    url: str,
    name: str,
    arguments: dict[str, Any] | None = None,
    scope: dict[str, Any] | None = None,
    role: str = "agent",
) -> None:
    """Send the invitation from this machine, with a token made here.

    Raises:
        WebhookRefusedError: The service answered with something else than 2xx.
        UnavailableError: It could not be reached.
    """
    import aiohttp

    from meshagent.api.helpers import websocket_room_url
    from meshagent.api.tokens.scope import ApiScope
    from meshagent.api.webhook.sender import send_webhook

    room_name = target.room or (await find_entry(target)).room_name
    api = None if scope is None else ApiScope.from_json(scope)
    token = await sign_token(target, room_name=room_name, name=name, role=target.role or role, scope=api)
    room_url = websocket_room_url(room_name=named_room(target) if target.room else room_name, base_url=target.api_url)
    data = {"room_name": room_name, "room_url": room_url, "token": token, "arguments": arguments or {}}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        secret = os.environ.get("MESHAGENT_WEBHOOK_SECRET")  # what a receiver on this machine checks with
        await send_webhook(session, url=url, event="room.call", data=data, secret=secret)


async def is_private(url: str) -> bool:
    """Whether the URL leads to this machine or a private network, where the server may not be able to call."""
    import asyncio

    host = urlsplit(url).hostname or ""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    addresses = [ipaddress.ip_address(str(item[4][0]).partition("%")[0]) for item in found]
    return bool(addresses) and all(address.is_private or address.is_loopback for address in addresses)
