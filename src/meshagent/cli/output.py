"""What commands print and how they fail: tables for people, JSON for programs, exit codes for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


class ExitCode(IntEnum):
    """How a command went. `INTERRUPTED` is what Ctrl+C gives."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_ALLOWED = 4
    NO_CONNECTION = 5
    CONFLICT = 6
    TIMEOUT = 7
    INTERRUPTED = 130


class CommandError(Exception):
    """A command failed; the text says why, `hint` what to do about it."""

    def __init__(self, message: str, *, code: ExitCode = ExitCode.FAILED, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


class UsageError(CommandError):
    """The command line itself is wrong in a way that the parser cannot see."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, code=ExitCode.USAGE, hint=hint)


# Printing


def console(*, stderr: bool = False) -> Console:
    """The terminal, or whatever standard output (or error) leads to."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def print_json(value: object) -> None:
    """One JSON value, indented; times in ISO 8601."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_to_json))


def print_json_line(value: object) -> None:
    """One JSON value on one line, seen at once: for commands that go on."""
    typer.echo(json.dumps(value, ensure_ascii=False, default=_to_json))
    sys.stdout.flush()


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool, empty: str = "") -> None:
    """A listing.

    In a terminal it is a table, elsewhere lines with tabs between the cells, header first. JSON has all members of
    the rows, not only the columns. `empty` is what people are told, on standard error, when there are no rows.
    """
    if as_json:
        print_json(list(rows))
        return
    if not rows:
        note(empty or "nothing there")
        return
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    if sys.stdout.isatty():
        _print_table(columns, cells)
    else:
        for line in [list(columns), *cells]:
            typer.echo("\t".join(line))


def _print_table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for line in cells:
        table.add_row(*(escape(cell) for cell in line))
    console().print(table, soft_wrap=False)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=_to_json)
    return text.replace("\t", " ").replace("\r", " ").replace("\n", " ")


def _to_json(value: object) -> Any:
    """The JSON form of what `json` does not know itself."""
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "to_json"):
        return value.to_json()
    return str(value)


def note(text: str) -> None:
    """A word to the person, on standard error, so that output can be piped."""
    typer.echo(text, err=True)


def print_error(error: Exception) -> None:
    """A failure in one line, and a hint, if there is one."""
    from rich.markup import escape

    terminal = console(stderr=True)
    terminal.print(f"[bold red]error:[/] {escape(_text_of(error))}")
    if hint := getattr(error, "hint", "") or _hint_for(error):
        terminal.print(f"[dim]hint:[/] {escape(hint)}")


# Failures


def exit_code_of(error: Exception) -> ExitCode | None:
    """The exit code that tells of `error`; None for one that is a fault of the program, not an answer."""
    if isinstance(error, CommandError):
        return error.code
    status = getattr(error, "status", None)
    if isinstance(status, int):  # an HTTP answer, also to the attempt to join
        return _BY_STATUS.get(status, ExitCode.FAILED)
    from meshagent.api.errors import RoomException

    if isinstance(error, RoomException):
        return _BY_ERROR_CODE.get(error.code, ExitCode.FAILED)
    if _is_connection_error(error):
        return ExitCode.NO_CONNECTION
    return ExitCode.FAILED if isinstance(error, OSError) else None


_BY_STATUS = {
    401: ExitCode.NOT_ALLOWED,
    403: ExitCode.NOT_ALLOWED,
    404: ExitCode.NOT_FOUND,
    408: ExitCode.TIMEOUT,
    409: ExitCode.CONFLICT,
    502: ExitCode.NO_CONNECTION,
    503: ExitCode.NO_CONNECTION,
    504: ExitCode.TIMEOUT,
}

_BY_ERROR_CODE = {
    "invalid_request": ExitCode.FAILED,
    "not_found": ExitCode.NOT_FOUND,
    "permission_denied": ExitCode.NOT_ALLOWED,
    "unavailable": ExitCode.NO_CONNECTION,
    "connection_lost": ExitCode.NO_CONNECTION,
    "already_exists": ExitCode.CONFLICT,
    "conflict": ExitCode.CONFLICT,
    "timeout": ExitCode.TIMEOUT,
}


def _is_connection_error(error: Exception) -> bool:
    """Whether it says that no server was reached; aiohttp is only asked where it is in use."""
    aiohttp = sys.modules.get("aiohttp")
    return isinstance(error, ConnectionError) or (aiohttp is not None and isinstance(error, aiohttp.ClientError))


def _text_of(error: Exception) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return "it took too long"
    text = (
        getattr(error, "message", "") or str(error) if isinstance(getattr(error, "status", None), int) else str(error)
    )
    return text or type(error).__name__


def _hint_for(error: Exception) -> str:
    if isinstance(error, CommandError):
        return ""
    match exit_code_of(error):
        case ExitCode.NO_CONNECTION if _is_connection_error(error):
            return "is the server running? `meshagent serve` starts one; `meshagent doctor` looks for what is wrong"
        case ExitCode.NOT_ALLOWED:
            return "`meshagent auth whoami` shows which key and server are used"
    return ""
