"""Tokens of SQL text: what filters, expressions and statements are taken apart into."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from meshagent.api.errors import InvalidRequestError

__all__ = ["END", "Token", "quote_text", "tokens_of"]

_TOKEN = re.compile(
    r"""
      (?P<space> (?: \s | --[^\n]* | /\*.*?\*/ )++ )
    | (?P<string> '(?: [^'] | '' )*+' )
    | (?P<quoted> "(?: [^"\\] | \\. | "" )*+" )
    | (?P<identifier> `(?: [^`] | `` )*+` )
    | (?P<word> [^\W\d]\w* )
    | (?P<number> \d[\w.]* )
    | (?P<operator> [<>=!]+ | [^\w\s'"`] )
    """,
    re.VERBOSE | re.DOTALL,
)


class Token(NamedTuple):
    """A token of SQL text; `kind` is the name of a group of `_TOKEN`."""

    kind: str
    text: str

    def is_word(self, word: str) -> bool:
        return self.kind == "word" and self.text.lower() == word


END = Token("end", "")
"""What follows the last token."""


def tokens_of(text: str) -> Iterator[Token]:
    """The tokens of an SQL text, spaces and comments among them.

    Raises:
        InvalidRequestError: A quote is not closed.
    """
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            excerpt = text[position : position + 20]
            raise InvalidRequestError(f"SQL syntax error: unclosed quote or unexpected character at {excerpt!r}")
        assert match.lastgroup is not None
        yield Token(match.lastgroup, match.group())
        position = match.end()


def quote_text(text: str) -> str:
    """`text` as an SQL string literal; backslashes mean themselves there."""
    return "'" + text.encode("utf-8", "replace").decode().replace("'", "''") + "'"
