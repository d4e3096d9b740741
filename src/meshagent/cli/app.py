"""The command line's root: which commands there are, and what a failed one looks like."""

from __future__ import annotations

import json
import shlex
import sys
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from meshagent.api.errors import RoomException
from meshagent.api.profile import api_base_url, find_credentials
from meshagent.api.tokens.api_key import ApiKey
from meshagent.api.version import __version__
from meshagent.cli.serve import ServeError, serve

app = typer.Typer(
    name="meshagent",
    help="Rooms where people, AI agents and tools meet.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("serve")(serve)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@app.command()
def env(
    output: Annotated[
        Literal["shell", "json"], typer.Option("--format", help="Lines for a shell to `eval`, or a JSON object.")
    ] = "shell",
) -> None:
    """Print the variables that another machine or container needs to reach this server, the secret included."""
    credentials = find_credentials()
    variables = {
        "MESHAGENT_API_URL": api_base_url(),
        "MESHAGENT_PROJECT_ID": credentials.project_id,
        "MESHAGENT_KEY_ID": credentials.key_id,
        "MESHAGENT_SECRET": credentials.secret,
    }
    known = {name: value for name, value in variables.items() if value is not None}
    if compact := _one_line(credentials.project_id, credentials.key_id, credentials.secret):
        known["MESHAGENT_API_KEY"] = compact
    if output == "json":
        typer.echo(json.dumps(known, indent=2))
        return
    for name, value in known.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def _one_line(project_id: str | None, key_id: str | None, secret: str) -> str | None:
    """The one-line form of the key, for keys that have one."""
    if project_id is None or key_id is None:
        return None
    try:
        return ApiKey(project_id=project_id, key_id=key_id, secret=secret).encode()
    except RoomException:
        return None


def run() -> None:
    """Run the command that `sys.argv` names; a failure that has words of its own is told in them alone."""
    try:
        app()
    except (RoomException, ServeError) as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
