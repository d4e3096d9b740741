"""`meshagent call`: invite an external service into a room."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from meshagent.cli.command import command
from meshagent.cli.context import RoomTarget, find_room_access, named_room, room_session, sign_token
from meshagent.cli.output import UsageError, note
from meshagent.cli.values import parse_object, parse_yaml

app = typer.Typer(
    help="Invite an external service at a URL into a room. The four commands are synonyms.",
    no_args_is_help=True,
)


@command(app, "agent")
async def agent(
    target: RoomTarget,
    url: Annotated[str, typer.Option(help="URL of the service, such as http://localhost:8081/chat.")],
    participant_name: Annotated[
        str | None, typer.Option(help="Name under which the service joins. Default: the URL's path.")
    ] = None,
    arguments: Annotated[str, typer.Option(help="Arguments for the service: a JSON object, @FILE, or -.")] = "{}",
    permissions: Annotated[Path | None, typer.Option(help="YAML or JSON file with the token's `api` scope.")] = None,
    local: Annotated[
        bool | None,
        typer.Option("--local/--remote", help="Send the invitation from here or from the server. Default: by URL."),
    ] = None,
) -> None:
    """Invite the service at a URL into the room, and wait until it accepts."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"{url!r} is not an http or https URL")
    parsed_arguments = parse_object(arguments, "arguments")
    scope = None if permissions is None else parse_yaml(permissions, "permissions")
    name = participant_name or urlsplit(url).path.strip("/").replace("/", "-") or "agent"
    await invite(target, url=url, name=name, arguments=parsed_arguments, scope=scope, local=local)
    note(f"invited {url} into the room as {name}")


for _synonym in ("tool", "toolkit", "schema"):
    command(app, _synonym)(agent)


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
    """Invite the service at a URL into the room, from this machine or through the server; errors as `post_call`.

    Raises:
        UsageError: A scope was given for an invitation through the server, which issues its own token.
    """
    if local if local is not None else await is_private(url):
        await post_call(target, url=url, name=name, arguments=arguments, scope=scope, role=role)
    elif scope is not None:
        raise UsageError("--permissions requires --local: otherwise the server issues the token")
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
    """Send the invitation from this machine, with a token signed here.

    Raises:
        WebhookRefusedError: The service did not answer with status 2xx.
        UnavailableError: The service cannot be reached.
    """
    import aiohttp

    from meshagent.api.helpers import websocket_room_url
    from meshagent.api.tokens.scope import ApiScope
    from meshagent.api.webhook.sender import send_webhook

    room_name = target.room or (await find_room_access(target)).room_name
    api = None if scope is None else ApiScope.from_json(scope)
    token = await sign_token(target, room_name=room_name, name=name, role=target.role or role, scope=api)
    room_url = websocket_room_url(room_name=named_room(target) if target.room else room_name, base_url=target.api_url)
    data = {"room_name": room_name, "room_url": room_url, "token": token, "arguments": arguments or {}}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        secret = os.environ.get("MESHAGENT_WEBHOOK_SECRET")  # a receiver on this machine verifies with the same
        await send_webhook(session, url=url, event="room.call", data=data, secret=secret)


async def is_private(url: str) -> bool:
    """Whether the URL is on this machine or a private network, which the server may be unable to reach."""
    import asyncio

    host = urlsplit(url).hostname or ""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    addresses = [ipaddress.ip_address(str(item[4][0]).partition("%")[0]) for item in found]
    return bool(addresses) and all(address.is_private or address.is_loopback for address in addresses)
