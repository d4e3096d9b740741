"""Output of commands: tables and JSON, error messages and exit codes."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshagent.api.visible_text import visible_line, visible_lines

if TYPE_CHECKING:
    from rich.console import Console

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class ExitCode(IntEnum):
    """Exit codes of commands. `INTERRUPTED` means Ctrl+C."""

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
    """A command failed. The text says why; `hint` suggests what to do."""

    def __init__(self, message: str, *, code: ExitCode = ExitCode.FAILED, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


class UsageError(CommandError):
    """The command line is invalid in a way that the parser cannot detect."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, code=ExitCode.USAGE, hint=hint)


# Printing


def console(*, stderr: bool = False) -> Console:
    """Return a console for standard output or standard error."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def echo(text: str, *, err: bool = False, end: str = "\n") -> None:
    """Print text that may be somebody else's: what could control the terminal is escaped."""
    typer.echo(visible_lines(text) + end, err=err, nl=False)


def content_writer() -> Callable[[bytes], object]:
    """Return what writes parts of a file to standard output: as they are, but on a terminal as text, like `echo`."""
    if not sys.stdout.isatty():
        return sys.stdout.buffer.write
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return lambda part: echo(decoder.decode(part), end="")


def print_json(value: object) -> None:
    """Print an indented JSON value. Times are in ISO 8601."""
    echo(json.dumps(value, indent=2, ensure_ascii=False, default=_to_json))


def print_json_line(value: object) -> None:
    """Print a JSON value on one line and flush, for commands that keep running."""
    echo(json.dumps(value, ensure_ascii=False, default=_to_json))
    sys.stdout.flush()


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool, empty: str = "") -> None:
    """Print a listing.

    On a terminal it is a table, otherwise tab-separated lines with a header. JSON contains all members of the rows,
    not only `columns`. If there are no rows, `empty` is printed on standard error.
    """
    if as_json:
        print_json(list(rows))
        return
    if not rows:
        note(empty or "no entries")
        return
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    if sys.stdout.isatty():
        _print_table(columns, cells)
    else:
        for line in [list(columns), *cells]:
            echo("\t".join(line))


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
    return visible_line(text.replace("\t", " ").replace("\r", " ").replace("\n", " "))


def _to_json(value: object) -> Any:
    """Convert values that `json` does not support."""
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "to_json"):
        return value.to_json()
    return str(value)


def note(text: str) -> None:
    """Print a message to the user on standard error, which keeps standard output usable in pipes."""
    echo(text, err=True)


def print_error(error: Exception) -> None:
    """Print an error in one line, followed by a hint if there is one."""
    from rich.markup import escape

    terminal = console(stderr=True)
    terminal.print(f"[bold red]error:[/] {escape(visible_lines(_text_of(error)))}")
    if hint := getattr(error, "hint", "") or _hint_for(error):
        terminal.print(f"[dim]hint:[/] {escape(visible_lines(hint))}")


# Failures


def exit_code_of(error: Exception) -> ExitCode | None:
    """Return the exit code for an error, or None for an unexpected one, which deserves a traceback."""
    if isinstance(error, CommandError):
        return error.code
    status = getattr(error, "status", None)
    if isinstance(status, int):  # an HTTP status, including one received while joining a room
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
    """Whether no server was reached. aiohttp is not imported for this: unless it is loaded, it raised nothing."""
    aiohttp = sys.modules.get("aiohttp")
    return isinstance(error, ConnectionError) or (aiohttp is not None and isinstance(error, aiohttp.ClientError))


def _text_of(error: Exception) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return "timed out"
    text = (
        getattr(error, "message", "") or str(error) if isinstance(getattr(error, "status", None), int) else str(error)
    )
    return text or type(error).__name__


def _hint_for(error: Exception) -> str:
    if isinstance(error, CommandError):
        return ""
    match exit_code_of(error):
        case ExitCode.NO_CONNECTION if _is_connection_error(error):
            return "is the server running? start one with `meshagent serve`, or run `meshagent doctor`"
        case ExitCode.NOT_ALLOWED:
            return "`meshagent auth whoami` shows the server and API key in use"
    return ""
