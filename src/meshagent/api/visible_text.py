"""Other people's text, made safe for terminals and logs.

A name or a message can hold characters that move the cursor, rewrite what was printed, begin a line of their own or
reorder the line that they stand in. They are replaced by their escapes, such as `\\u001b`, which are valid in JSON
strings too. Everything else, in any language and with emoji, stays.
"""

from __future__ import annotations

import logging
import re
from types import TracebackType
from typing import Final

__all__ = ["VisibleFormatter", "visible_line", "visible_lines"]

_UNSAFE: Final = (
    r"\x00-\x1f\x7f-\x9f"  # C0, DEL and C1: C1 has one-character forms of the escape sequences
    r"\u2028\u2029"  # separators of lines and paragraphs
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction of text
    r"\ud800-\udfff"  # lone surrogates, which no output can encode
)
_IN_A_LINE: Final = re.compile(f"[{_UNSAFE}]")
_IN_LINES: Final = re.compile(rf"\r(?!\n)|(?![\r\n\t])[{_UNSAFE}]")
_SHORT: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def visible_line(text: str) -> str:
    """`text` on one line: line breaks and tabs too are replaced by their escapes."""
    return text if text.isprintable() else _IN_A_LINE.sub(_escape, text)


def visible_lines(text: str) -> str:
    """`text` with its line breaks and tabs. JSON stays JSON with the same value."""
    return text if text.isprintable() else _IN_LINES.sub(_escape, text)


class VisibleFormatter(logging.Formatter):
    """Formats log records so that a message is one line, and no text in it or in its traceback is dangerous."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return visible_line(super().formatMessage(record))

    def formatException(
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        return visible_lines(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        return visible_lines(super().formatStack(stack_info))


def _escape(found: re.Match[str]) -> str:
    character = found.group()
    return _SHORT.get(character) or f"\\u{ord(character):04x}"
