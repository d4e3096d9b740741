"""What others wrote is printed so that it cannot control the terminal."""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path

import pytest

from meshagent import cli
from meshagent.cli.output import CommandError, content_writer, echo, note, print_error, print_json, print_rows
from tests.cli.test_cli_room import joined
from tests.support.command_line import CommandLine
from tests.support.server import TestServer

HOSTILE = "\x1b[2J\x9b31m\u2028\u202eabc"
STYLES = re.compile("\x1b\\[[0-9;]*m")  # bold column heads
SHOWN = r"\u001b[2J\u009b31m\u2028\u202eabc"


def test_tables_messages_and_errors_show_escapes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for is_terminal in (False, True):
        monkeypatch.setattr("sys.stdout.isatty", lambda shown=is_terminal: shown)
        print_rows([{"name": HOSTILE, "data": [HOSTILE]}], ("name", "data"), as_json=False)
    echo(f"{HOSTILE}\n\tsecond line")
    note(HOSTILE)
    print_error(CommandError(HOSTILE, hint=HOSTILE))
    captured = capsys.readouterr()
    out, err = (STYLES.sub("", text) for text in captured)
    assert (out.count(SHOWN), err.count(SHOWN)) == (5, 3)
    assert f"{SHOWN}\n\tsecond line\n" in out
    assert not set(out + err) & set("\x1b\x9b\u2028\u202e")


def test_json_output_is_escaped_and_keeps_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({HOSTILE: [HOSTILE, "\ud800"]})
    out = capsys.readouterr().out
    assert not set(out) & set("\x1b\x9b\u2028\u202e\ud800")
    assert json.loads(out) == {HOSTILE: [HOSTILE, "\ud800"]}


def test_files_on_a_terminal_show_escapes_and_elsewhere_their_bytes(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = f"é{HOSTILE}\n".encode()
    content_writer()(content)
    sys.stdout.buffer.flush()
    assert capfdbinary.readouterr().out == content
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    write = content_writer()
    for byte in content:
        write(bytes([byte]))
    assert capfdbinary.readouterr().out.decode() == f"é{SHOWN}\n"


async def test_names_and_messages_of_participants_show_escapes(cli: CommandLine, server: TestServer) -> None:
    async with joined(server, HOSTILE) as room:
        await room.messaging.enable()
        listed = await cli("messaging", "list-participants")
        assert SHOWN in listed.out
        assert "\x1b" not in listed.out
        as_json = await cli("messaging", "list-participants", "--json")
        assert as_json.json[0]["name"] == HOSTILE
        assert "\x9b" not in as_json.out


def test_commands_print_by_the_shared_functions_alone() -> None:
    """`env` prints this user's own settings for a shell to evaluate, `serve` this server's own."""
    folder = Path(cli.__file__).parent
    found = {
        f"{path.name}: {ast.unparse(node)[:60]}"
        for path in folder.glob("*.py")
        if path.name not in ("output.py", "env.py", "serve.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func)
        in ("print", "typer.echo", "typer.secho", "sys.stdout.write", "Console", "rich.print")
    }
    assert found == set()
