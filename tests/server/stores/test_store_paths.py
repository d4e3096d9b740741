"""Paths of rooms, and folders named after them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshagent.api.errors import InvalidRequestError
from meshagent.server.stores.paths import MAX_PART_BYTES, MAX_PARTS, MAX_PATH_BYTES, normalize_path, room_folder
from tests.support.hypothesis_profiles import examples

pieces = st.sampled_from(
    ["a", "b.txt", ".", "..", "...", "/", "//", "./", "\\", "\x00", "\x7f", "\x85", "é", "日", " "]
)
paths = st.lists(pieces | st.text(max_size=3), max_size=12).map("".join)


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("", ""),
        ("/", ""),
        ("./.", ""),
        ("a", "a"),
        ("/a/b/", "a/b"),
        ("a//b", "a/b"),
        ("./a/./b/.", "a/b"),
        (".schemas/x.json", ".schemas/x.json"),
        ("...", "..."),
        ("..a/b..", "..a/b.."),
        (" a ", " a "),
    ],
)
def test_one_spelling(path: str, normal: str) -> None:
    assert normalize_path(path) == normal


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../a",
        "a/../b",
        "a/..",
        "a\\b",
        "\x00",
        "a\nb",
        "a\x7f",
        "a\x9f",
        "\udcff",
        "é" * 128,
        "/" * MAX_PATH_BYTES + "a",
        "a/" * MAX_PARTS + "a",
    ],
)
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(InvalidRequestError):
        normalize_path(path)


@settings(max_examples=examples(300))
@given(paths)
def test_a_normal_path_is_safe_and_stays_as_it_is(path: str) -> None:
    try:
        normal = normalize_path(path)
    except InvalidRequestError:
        return
    assert normalize_path(normal) == normal
    assert normalize_path(f"/{normal}//./") == normal
    parts = normal.split("/") if normal else []
    assert all(part not in ("", ".", "..") for part in parts)
    assert all(len(part.encode()) <= MAX_PART_BYTES for part in parts)
    assert not any(unicodedata.category(character) == "Cc" or character == "\\" for character in normal)
    assert [part for part in path.split("/") if part not in ("", ".")] == parts


@settings(max_examples=examples(300))
@given(paths)
def test_a_path_is_refused_only_with_a_reason(path: str) -> None:
    try:
        normalize_path(path)
    except InvalidRequestError:
        has_reason = (
            ".." in path.split("/")
            or "\\" in path
            or any(unicodedata.category(character) in ("Cc", "Cs") for character in path)
        )
        assert has_reason


@settings(max_examples=examples(300))
@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_rooms_have_folders_of_their_own(one: str, other: str) -> None:
    folder = room_folder("project", one)
    assert len(folder.parts) == 2
    name = folder.name
    assert name.isascii()
    assert name.isprintable()
    assert not name.startswith(".")
    assert len(name) <= MAX_PART_BYTES
    assert "/" not in name
    assert (folder == room_folder("project", other)) == (one == other)


def test_readable_names_stay_readable() -> None:
    assert str(room_folder("my-project", "Room_1.x")) == "my-project/Room_1.x"
    assert str(room_folder("..", "a/b ~")) == "%2E./a%2Fb%20%7E"
    long = room_folder("p", "x" * 1000).name
    assert long.startswith("x" * 100)
    assert long != room_folder("p", "x" * 1001).name
    with pytest.raises(InvalidRequestError):
        room_folder("", "room")
