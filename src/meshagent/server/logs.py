"""The server's own log: one line of text, or one JSON object, per message, on standard error.

Messages quote names and texts of strangers: characters that could forge lines or reach the operator's terminal are
escaped in both forms.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO

from meshagent.api import jsontext
from meshagent.api.visible_text import VisibleFormatter, visible_line

_NOISY = ("aiohttp.access", "alembic", "httpx", "httpx2", "mcp", "openai")
"""Libraries whose routine messages are hidden; warnings and errors are shown."""


class JsonFormatter(logging.Formatter):
    """One JSON object per line: `at` (ISO 8601, UTC), `level`, `logger`, `message`, and `error` with a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return visible_line(jsontext.dumps(entry).decode())


def configure_logging(level: str, form: Literal["text", "json"], stream: TextIO | None = None) -> None:
    """Send everything from `level` on to `stream`; by default standard error. For a program, not for a library."""
    handler = logging.StreamHandler(stream or sys.stderr)
    if form == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(VisibleFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
