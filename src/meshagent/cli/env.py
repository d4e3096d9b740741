"""`meshagent env`: print environment variables for using this server from elsewhere."""

from __future__ import annotations

import json
import shlex
from typing import Annotated, Literal

import typer

VARIABLES = (
    "MESHAGENT_API_URL",
    "MESHAGENT_PROJECT_ID",
    "MESHAGENT_KEY_ID",
    "MESHAGENT_SECRET",
    "MESHAGENT_API_KEY",
)

_SET = {"sh": "export {name}={value}", "fish": "set -gx {name} {value};", "dotenv": "{name}={value}"}
_UNSET = {"sh": "unset {name}", "fish": "set -e {name};", "dotenv": "{name}="}


def env(
    output: Annotated[
        Literal["shell", "json"], typer.Option("--format", help="Shell commands to `eval`, or a JSON object.")
    ] = "shell",
    shell: Annotated[
        Literal["sh", "bash", "zsh", "fish", "dotenv"], typer.Option(help="Shell syntax of the output.")
    ] = "sh",
    unset: Annotated[bool, typer.Option("--unset", help="Print commands that unset the variables.")] = False,
) -> None:
    """Print the environment variables that another machine or container needs to use this server, with the secret."""
    dialect = "sh" if shell in ("bash", "zsh") else shell
    if unset:
        for name in VARIABLES:
            typer.echo(_UNSET[dialect].format(name=name))
        return
    known = _variables()
    if output == "json":
        typer.echo(json.dumps(known, indent=2))
        return
    for name, value in known.items():
        typer.echo(_SET[dialect].format(name=name, value=shlex.quote(value)))


def _variables() -> dict[str, str]:
    from meshagent.api.profile import api_base_url, find_credentials

    credentials = find_credentials()
    variables = {
        "MESHAGENT_API_URL": api_base_url(),
        "MESHAGENT_PROJECT_ID": credentials.project_id,
        "MESHAGENT_KEY_ID": credentials.key_id,
        "MESHAGENT_SECRET": credentials.secret,
        "MESHAGENT_API_KEY": _encoded_key(credentials.project_id, credentials.key_id, credentials.secret),
    }
    return {name: value for name, value in variables.items() if value is not None}


def _encoded_key(project_id: str | None, key_id: str | None, secret: str) -> str | None:
    """Return the API key as one string, or None if it has no such form."""
    from meshagent.api.errors import RoomException
    from meshagent.api.tokens.api_key import ApiKey

    if project_id is None or key_id is None:
        return None
    try:
        return ApiKey(project_id=project_id, key_id=key_id, secret=secret).encode()
    except RoomException:
        return None
