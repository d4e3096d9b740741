"""Text of others reaches logs and terminals as text alone."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshagent.api.visible_text import visible_line, visible_lines

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def _is_dangerous(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs") or character in BIDI


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\u001b[2J"),
        ("\x9b31m", r"\u009b31m"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\nb\rc\td", r"a\nb\rc\td"),
        ("\x00\x7f", r"\u0000\u007f"),
        ("plain, ünïcode, 深, עברית, 👩‍👩‍👧, नि", "plain, ünïcode, 深, עברית, 👩‍👩‍👧, नि"),
    ],
)
def test_what_could_control_a_terminal_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert visible_line(text) == shown


def test_lines_and_tabs_stay_where_a_text_may_have_several_lines() -> None:
    assert visible_lines("a\n\tb\r\nc\rd\x1b") == "a\n\tb\r\nc\\rd\\u001b"


@given(st.text(st.characters() | st.sampled_from("\x1b\x85\x9b\r\n\u2028\u202e\ud800")))
def test_nothing_dangerous_passes_and_the_rest_stays(text: str) -> None:
    assert not any(map(_is_dangerous, visible_line(text)))
    assert not any(_is_dangerous(character) for character in visible_lines(text) if character not in "\r\n\t")
    if not any(map(_is_dangerous, text)):
        assert visible_line(text) == visible_lines(text) == text


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_keeps_its_value(value: object) -> None:
    for indent in (None, 2):
        assert json.loads(visible_lines(json.dumps(value, ensure_ascii=False, indent=indent))) == value
