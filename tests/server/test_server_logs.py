"""The server's log in both forms."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest

from meshagent.server.logs import configure_logging


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_lines_can_be_read_by_machines() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    log = logging.getLogger("meshagent.test")
    log.debug("too quiet")
    log.info("hello %s", "wörld")
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("it failed")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["level"], first["logger"], first["message"]) == ("info", "meshagent.test", "hello wörld")
    assert "ValueError: broken" in second["error"]


def test_text_lines_respect_the_level_and_keep_libraries_quiet() -> None:
    stream = io.StringIO()
    configure_logging("info", "text", stream)
    logging.getLogger("meshagent.test").info("news")
    logging.getLogger("alembic").info("chatter")
    assert "INFO    meshagent.test: news" in stream.getvalue()
    assert "chatter" not in stream.getvalue()


HOSTILE = "r\x1b[2J\x9b\n2026-01-01 ERROR \u2028\u202e"


def _hostile_entries(form: Literal["text", "json"]) -> str:
    stream = io.StringIO()
    configure_logging("info", form, stream)
    log = logging.getLogger("meshagent.test")
    log.info("room %s started", HOSTILE)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        log.exception("in room %s", HOSTILE)
    return stream.getvalue()


def test_text_of_strangers_forges_no_line_and_no_terminal_command() -> None:
    shown = _hostile_entries("text")
    assert set(shown) & set("\x1b\x9b\u2028\u202e") == set()
    first, second = shown.splitlines()[:2]
    assert first.endswith(r"room r\u001b[2J\u009b\n2026-01-01 ERROR \u2028\u202e started")
    assert second.endswith(r"in room r\u001b[2J\u009b\n2026-01-01 ERROR \u2028\u202e")


def test_json_logs_escape_text_of_strangers_and_keep_its_value() -> None:
    shown = _hostile_entries("json")
    assert set(shown) & set("\x1b\x9b\u2028\u202e") == set()
    first, second = map(json.loads, shown.splitlines())
    assert first["message"] == f"room {HOSTILE} started"
    assert HOSTILE in second["error"]
