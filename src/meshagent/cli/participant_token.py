"""`meshagent participant-token`: create and inspect participant tokens."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshagent.cli.command import command
from meshagent.cli.context import RoomTarget, signing_key
from meshagent.cli.output import UsageError, echo, print_json
from meshagent.cli.values import parse_yaml, read_file, read_text, require_one

if TYPE_CHECKING:
    from meshagent.api.tokens.token import ParticipantToken

app = typer.Typer(help="Create and inspect participant tokens.", no_args_is_help=True)

SPEC_MEMBERS = {"version", "kind", "identity", "name", "room", "role", "api", "expires_in"}


@command(app, "generate")
async def generate(
    target: RoomTarget,
    source: Annotated[
        Path | None,
        typer.Option("--input", "-i", help="YAML file with `kind: ParticipantToken`, identity, room, role, api."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write it to a file that only you can read.")
    ] = None,
    expires_in: Annotated[
        float | None, typer.Option(min=0, help="Hours until the token expires. Default: never.")
    ] = None,
) -> None:
    """Create a token, and print it or write it to a file."""
    spec = _read_spec(source) if source is not None else {}
    token = await _make(target, spec)
    hours = expires_in if expires_in is not None else spec.get("expires_in")
    expiration = None if hours is None else datetime.now(UTC) + timedelta(hours=float(hours))
    jwt = token.to_jwt(secret=(await signing_key(target)).secret, expiration=expiration)
    # Older scripts name the output file with `--token-path`, which is now the option to read a token from.
    destination = output or target.token_path
    if destination is None:
        echo(jwt)
        return
    from meshagent.api.profile import write_private

    destination = destination.expanduser()
    destination.parent.mkdir(parents=True, exist_ok=True)
    write_private(destination, jwt + "\n")


def _read_spec(path: Path) -> dict[str, Any]:
    spec = parse_yaml(path, "token file")
    if spec.get("kind") != "ParticipantToken" or spec.get("version", "v1") != "v1":
        raise UsageError(f"{path} must contain `version: v1` and `kind: ParticipantToken`")
    if unknown := sorted(set(spec) - SPEC_MEMBERS):
        raise UsageError(f"{path} has unknown members: {', '.join(map(str, unknown))}")
    return spec


async def _make(target: RoomTarget, spec: dict[str, Any]) -> ParticipantToken:
    from meshagent.api.tokens.scope import ApiScope
    from meshagent.api.tokens.token import ParticipantToken

    key = await signing_key(target)
    name = require_one(target.name, spec.get("identity", spec.get("name")), "--name, or `identity` in the file,")
    room = require_one(target.room, spec.get("room"), "--room, or `room` in the file,")
    role = target.role or spec.get("role")
    token = ParticipantToken(name=str(name), project_id=key.project_id, api_key_id=key.key_id)
    token.add_room_grant(room_name=str(room), role=None if role is None else str(role))
    if spec.get("api") is not None:
        token.add_api_grant(ApiScope.from_json(spec["api"]))
    return token


@command(app, "show", "decode")
def show(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="The token, @FILE, or - for standard input.")],
) -> None:
    """Print the claims of a token. Does not verify its signature."""
    from meshagent.api.tokens.token import ParticipantToken

    path = Path(token)
    text = read_file(path, "token") if token.count(".") < 2 and path.is_file() else read_text(token, "token")
    decoded = ParticipantToken.from_jwt(text.strip(), validate=False)
    claims = {**decoded.extra_payload, **decoded.to_json()}
    expires = claims.get("exp")
    if isinstance(expires, int | float):
        claims["expires_at"] = datetime.fromtimestamp(expires, tz=UTC)
        claims["is_expired"] = expires <= time.time()
    print_json(claims)
