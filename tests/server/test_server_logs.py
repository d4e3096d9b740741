"""The server's log in both forms."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

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
