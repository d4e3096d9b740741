"""The root of the command line: the list of commands, and error handling."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from traceback import format_exception
from types import TracebackType
from typing import ClassVar

import typer

from meshagent.api.version import __version__
from meshagent.api.visible_text import VisibleFormatter
from meshagent.cli.lazy import LazyGroup
from meshagent.cli.output import echo, exit_code_of, print_error


class _Root(LazyGroup):
    """All commands."""

    entry_points: ClassVar[Mapping[str, str]] = {
        "serve": "meshagent.cli.serve:serve",
        "setup": "meshagent.cli.setup:setup",
        "doctor": "meshagent.cli.doctor:doctor",
        "env": "meshagent.cli.env:env",
        "auth": "meshagent.cli.auth:app",
        "project": "meshagent.cli.project:app",
        "api-key": "meshagent.cli.api_key:app",
        "session": "meshagent.cli.session:app",
        "usage": "meshagent.cli.usage:usage",
        "participant-token": "meshagent.cli.participant_token:app",
        "room": "meshagent.cli.room:app",
        "call": "meshagent.cli.call:app",
        "chat": "meshagent.cli.chat:chat",
        "chatbot": "meshagent.cli.chatbot:app",
        "worker": "meshagent.cli.worker:app",
        "mcp": "meshagent.cli.mcp:app",
        "agents": "meshagent.cli.agents:app",
        "messaging": "meshagent.cli.messaging:app",
        "storage": "meshagent.cli.storage:app",
        "document": "meshagent.cli.document:app",
        "queue": "meshagent.cli.queue:app",
        "database": "meshagent.cli.database:app",
        "developer": "meshagent.cli.developer:app",
        "webhook": "meshagent.cli.webhook:app",
        "service": "meshagent.cli.service:app",
        "secret": "meshagent.cli.secret:app",
    }


app = typer.Typer(
    name="meshagent",
    cls=_Root,
    help="Rooms where people, AI agents and tools work together.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root() -> None:
    """Rooms where people, AI agents and tools work together."""


@app.command()
def version() -> None:
    """Print the version."""
    echo(__version__)


def run() -> None:
    """Run the command in `sys.argv`. Known errors are printed without a traceback."""
    sys.excepthook = _print_traceback
    if logging.lastResort is not None:  # prints the warnings of agents, as no command configures logging
        logging.lastResort.setFormatter(VisibleFormatter("%(message)s"))
    try:
        app()
    except Exception as error:
        code = exit_code_of(error)
        if code is None:
            raise
        print_error(error)
        sys.exit(code)


def _print_traceback(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    echo("".join(format_exception(kind, error, traceback)), err=True, end="")
