"""The command tree as tables of docs/reference/cli.md; `python -m tests.support.cli_reference` writes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from meshagent.cli.app import app
from meshagent.cli.context import AccountTarget, RoomTarget

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
BEGIN, END = "<!-- commands: begin -->\n", "<!-- commands: end -->\n"
ALIKE = frozenset({"agents", "call", "chat", "database", "developer", "document", "messaging", "queue", "storage"})
"""Groups that `meshagent room` has as well."""

_ROOM_OPTIONS = {f"--{name.replace('_', '-')}" for name in RoomTarget.__dataclass_fields__}
_ACCOUNT_OPTIONS = {f"--{name.replace('_', '-')}" for name in AccountTarget.__dataclass_fields__}


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that is shown, by its words; groups come before what is in them."""
    group = group if group is not None else typer.main.get_command(app)
    context = group.make_context("meshagent", [], resilient_parsing=True)
    for name in group.list_commands(context):
        if path == ("room",) and name in ALIKE:
            continue
        command = group.get_command(context, name)
        if command.hidden:
            continue
        yield (*path, name), command
        if hasattr(command, "list_commands"):
            yield from commands(command, (*path, name))


def tables() -> str:
    """The generated part of the page."""
    lines = ["| Command | What it does | Options |", "|---|---|---|"]
    lines += [_row(path, command) for path, command in commands() if not hasattr(command, "list_commands")]
    return "\n".join(lines) + "\n"


def _row(path: tuple[str, ...], command: Any) -> str:
    words = " ".join([*path, *(_argument(param) for param in command.params if param.param_type_name == "argument")])
    summary = " ".join(command.help.partition("\n\n")[0].split())
    return f"| `{words}` | {_cell(summary)} | {_options(command)} |"


def _argument(param: Any) -> str:
    metavar = param.metavar or param.name.upper()
    return str(metavar) if param.required or metavar.startswith("--") else f"[{metavar}]"


def _options(command: Any) -> str:
    shown = [param for param in command.params if param.param_type_name == "option" and not param.hidden]
    names = {max(param.opts, key=len): param for param in shown}
    groups = [("room", _ROOM_OPTIONS), ("project", _ACCOUNT_OPTIONS)]
    shared = next(((label, options) for label, options in groups if options <= names.keys()), ("", set()))
    own = [_option(param) for name, param in names.items() if name not in shared[1] | {"--help"}]
    return ", ".join([*own, *([f"*{shared[0]}*"] if shared[0] else [])])


def _option(param: Any) -> str:
    spellings = [*sorted(param.opts, key=len, reverse=True), *param.secondary_opts]
    return " ".join(f"`{spelling}`" for spelling in spellings) + (" (required)" if param.required else "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def page_with_tables(page: str) -> str:
    """The page with its generated part renewed."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + tables() + END + after


if __name__ == "__main__":
    PAGE.write_text(page_with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
