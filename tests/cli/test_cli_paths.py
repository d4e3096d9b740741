"""Paths and patterns of rooms, and what commands print: the parts that need no server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshagent.api.errors import (
    AlreadyExistsError,
    ConnectionLostError,
    InternalError,
    NotFoundError,
    PermissionDeniedError,
    RequestTimeoutError,
    RoomException,
)
from meshagent.api.room.files import StorageEntry
from meshagent.cli.chat_thread import thread_path
from meshagent.cli.file_copy import _inside
from meshagent.cli.output import CommandError, ExitCode, UsageError, exit_code_of, print_rows
from meshagent.cli.paths import RoomPath, expand, parse_room_path, walk
from meshagent.cli.values import parse_json, parse_json_or_text, parse_pairs
from tests.support.hypothesis_profiles import examples

FILES = ("a/1.txt", "a/2.md", "a/deep/3.txt", "a/deep/er/4.txt", "b.txt", ".hidden/5.txt", "c/[x].txt")


def entry(name: str, *, is_folder: bool) -> StorageEntry:
    now = datetime.now(UTC)
    return StorageEntry(name=name, is_folder=is_folder, created_at=now, updated_at=now)


async def list_folder(folder: str) -> Sequence[StorageEntry]:
    """One folder of a room that holds FILES."""
    prefix = f"{folder}/" if folder else ""
    inside = [path.removeprefix(prefix) for path in FILES if path.startswith(prefix)]
    names = dict.fromkeys(path.partition("/")[0] for path in inside)
    return [entry(name, is_folder=name not in inside) for name in names]


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("*", ["a", "b.txt", "c"]),
        (".*", [".hidden"]),
        ("a/*", ["a/1.txt", "a/2.md", "a/deep"]),
        ("a/?.txt", ["a/1.txt"]),
        ("*/*.txt", ["a/1.txt", "c/[x].txt"]),
        ("**/*.txt", ["a/1.txt", "a/deep/3.txt", "a/deep/er/4.txt", "b.txt", "c/[x].txt"]),
        ("a/**/3.txt", ["a/deep/3.txt"]),
        ("a/**", ["a/1.txt", "a/2.md", "a/deep", "a/deep/3.txt", "a/deep/er", "a/deep/er/4.txt"]),
        ("c/[[]x].txt", ["c/[x].txt"]),
        ("nothing/*", []),
        ("b.txt/*", []),
    ],
)
async def test_what_patterns_match(pattern: str, matches: list[str]) -> None:
    assert [found.path for found in await expand(list_folder, pattern)] == matches


async def test_walking_finds_everything() -> None:
    assert {found.path for found in await walk(list_folder, "") if not found.entry.is_folder} == set(FILES)


@given(st.sampled_from(FILES), st.data())
@settings(max_examples=examples(40))
def test_a_file_matches_its_path_with_any_part_replaced_by_a_star(path: str, data: st.DataObject) -> None:
    parts = path.split("/")
    index = data.draw(st.integers(0, len(parts) - 1))
    star = ".*" if parts[index].startswith(".") else "*"
    parts = [star if i == index else part.replace("[", "[[]") for i, part in enumerate(parts)]
    assert path in [found.path for found in asyncio.run(expand(list_folder, "/".join(parts)))]


def test_who_names_the_room() -> None:
    assert parse_room_path("room://a//b/", default_room="r") == RoomPath(None, "a/b")
    assert parse_room_path("room://a/b", default_room=None) == RoomPath("a", "b")
    assert parse_room_path("./a/b", default_room=None) == RoomPath(None, "a/b")
    with pytest.raises(UsageError, match="does not name a room"):
        parse_room_path("room:///b", default_room=None)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "a//x", ".", ""])
def test_a_name_from_a_room_never_leads_out_of_a_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="is not a valid file name"):
        _inside(tmp_path, name)
    assert _inside(RoomPath(None, "f"), "x") == RoomPath(None, "f/x")


@given(st.text(), st.text())
@settings(max_examples=examples(60))
def test_any_name_has_a_thread_of_its_own_folder(agent: str, person: str) -> None:
    path = PurePosixPath(thread_path(agent, person))
    assert path.parts[0] == ".threads"
    assert len(path.parts) == 3
    assert path.suffix == ".thread"
    assert ".." not in path.parts


class _Refused(aiohttp.ClientError):
    status = 409


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), ExitCode.USAGE),
        (CommandError("x", code=ExitCode.CONFLICT), ExitCode.CONFLICT),
        (NotFoundError("x"), ExitCode.NOT_FOUND),
        (PermissionDeniedError("x"), ExitCode.NOT_ALLOWED),
        (AlreadyExistsError("x"), ExitCode.CONFLICT),
        (ConnectionLostError("x"), ExitCode.NO_CONNECTION),
        (RequestTimeoutError("x"), ExitCode.TIMEOUT),
        (InternalError("x"), ExitCode.FAILED),
        (RoomException("x"), ExitCode.FAILED),
        (ConnectionRefusedError(), ExitCode.NO_CONNECTION),
        (aiohttp.ClientPayloadError(), ExitCode.NO_CONNECTION),
        (_Refused(), ExitCode.CONFLICT),
        (PermissionError(13, "denied"), ExitCode.FAILED),
        (ZeroDivisionError(), None),
    ],
)
def test_each_failure_has_its_exit_code(error: Exception, code: ExitCode | None) -> None:
    assert exit_code_of(error) is code


def test_rows_for_pipes_and_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, object]] = [{"a": "x\ty\n", "b": None, "c": True}, {"a": {"k": 1}, "b": 2, "c": False}]
    print_rows(rows, ("a", "b", "c"), as_json=False)
    assert capsys.readouterr().out == 'a\tb\tc\nx y \t\tyes\n{"k": 1}\t2\tno\n'
    print_rows(rows, ("a",), as_json=True)
    assert json.loads(capsys.readouterr().out) == rows
    print_rows([], ("a",), as_json=False, empty="none here")
    assert capsys.readouterr() == ("", "none here\n")


def test_rows_for_people_show_brackets_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_rows([{"updated_at": "[bold]x"}], ("updated_at",), as_json=False)
    assert "updated at" in (shown := capsys.readouterr().out)
    assert "[bold]x" in shown


def test_values_come_from_text_and_files(tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text('{"a": 1}')
    assert parse_json(f"@{tmp_path}/v.json", "value") == {"a": 1}
    assert (parse_json_or_text("1", "x"), parse_json_or_text("one", "x")) == (1, "one")
    assert parse_pairs(["a=b=c", "d="], "pair") == {"a": "b=c", "d": ""}
    with pytest.raises(UsageError, match="NAME=VALUE"):
        parse_pairs(["a"], "pair")
    with pytest.raises(CommandError) as caught:
        parse_json(f"@{tmp_path}/none", "value")
    assert caught.value.code is ExitCode.NOT_FOUND
