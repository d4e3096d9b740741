"""Rewrites SQL of clients for the engine (protocol 11.5).

The 0.5 generation writes strings also in double quotes, as JSON: `name = "Ann\\u00e9"`. Today's engine takes
double quotes for identifiers. It does not compare dates with text, and it has no bound on the size of an expression
(LanceDB 0.40; docs/decisions/0007-room-database.md). So the text is split into tokens, bounded, rewritten and joined
again in brackets. A text is judged whole, by `grammar`, before any of it runs.

    "text"                  'text', JSON escapes resolved; doubled quotes are quotes too
    "name"                  `name`, for clients of the current generation, who write standard SQL
    `name`, 'text'          stay
    x = null, x != null     x IS NULL, x IS NOT NULL
    day = '2025-01-02'      day = date '2025-01-02', where `day` is a date or timestamp column
    LIKE 'a\\b'              LIKE 'a\\\\b', for clients of the current generation
    -9223372036854775808    (-9223372036854775807 - 1)
    n NOT IN (1) OR n NOT IN (2)   nullif(n, NULL) NOT IN (1) OR nullif(nullif(n, NULL), NULL) NOT IN (2); see `choices`
    -- and /* comments */   a space
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from meshagent.api.errors import InvalidRequestError, LimitExceededError
from meshagent.server.stores.tables.grammar import ColumnKind, check_expression
from meshagent.server.stores.tables.sql_tokens import END, Token, quote_text, tokens_of
from meshagent.server.stores.tables.temporal import parse_date, parse_timestamp

__all__ = [
    "MAX_DEPTH",
    "MAX_LENGTH",
    "Temporal",
    "names_in",
    "translate_expression",
    "translate_filter",
]

Temporal = Literal["date", "timestamp"]

MAX_LENGTH = 1024 * 1024
"""Longest SQL text, in characters."""

MAX_DEPTH = 128
"""Deepest expression, in terms and operators between two of `AND`, `OR` and the comma."""

MAX_JUNCTIONS = 10_000
"""Most `AND`s and `OR`s in one expression."""

_ESCAPE = re.compile(
    r'\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\(.)|""', re.S
)
_ESCAPED = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

_EQUAL = frozenset({"=", "=="})
_UNEQUAL = frozenset({"!=", "<>"})
_TYPED_BY = frozenset({"date", "timestamp", "time", "interval"})
_COMPARISONS = _EQUAL | _UNEQUAL | {"<", "<=", ">", ">="}


def translate_filter(
    text: str | None, columns: Mapping[str, ColumnKind] | None = None, *, quoted_names: bool = False
) -> str | None:
    """The engine's spelling of a filter; None, which is no filter, for blank text.

    Args:
        text: As the client sent it.
        columns: The table's columns of dates, times and integers.
        quoted_names: Whether double quotes enclose names, as in standard SQL, and not strings.

    Raises:
        InvalidRequestError: It is not one whole expression; see `grammar`.
        LimitExceededError: It is too long or too deeply nested.
    """
    if text is None or not text.strip():
        return None
    return translate_expression(text, columns, quoted_names=quoted_names)


def translate_expression(
    text: str, columns: Mapping[str, ColumnKind] | None = None, *, quoted_names: bool = False
) -> str:
    """Like `translate_filter`, for an expression that must not be blank."""
    if len(text) > MAX_LENGTH:
        raise LimitExceededError(f"the SQL text is longer than {MAX_LENGTH} characters", limit=MAX_LENGTH)
    tokens = list(tokens_of(text))
    _check_depth(tokens)
    if quoted_names:
        tokens = [_as_name(token) if token.kind == "quoted" else token for token in tokens]
    respelled = check_expression(tokens, columns, standard_sql=quoted_names)
    significant = [index for index, token in enumerate(tokens) if token.kind != "space"]
    view = [tokens[index] for index in significant]
    for index, replacement in _replacements(view, columns or {}, keep_zones=not quoted_names).items():
        tokens[significant[index]] = Token("done", replacement)
    for index, replacement in respelled.texts.items():
        tokens[index] = Token("done", replacement)
    for first, last, times in respelled.wraps:
        tokens[first] = Token("done", "nullif(" * times + tokens[first].text)
        tokens[last] = Token("done", tokens[last].text + ", NULL)" * times)
    # In brackets the engine, too, must read the text to its end.
    return "(" + "".join(" " if token.kind == "space" else token.text for token in tokens).strip() + ")"


def names_in(expression: str) -> set[str]:
    """The words and identifiers in an expression, in lower case: all columns it reads are among them."""
    tokens = list(tokens_of(expression))
    bare = {token.text.lower() for token in tokens if token.kind == "word"}
    return bare | {_identifier(token).lower() for token in tokens if token.kind == "identifier"}


def _identifier(token: Token) -> str:
    return token.text[1:-1].replace("``", "`")


def _as_name(token: Token) -> Token:
    return Token("identifier", "`" + token.text[1:-1].replace('""', '"').replace("`", "``") + "`")


def _replacements(tokens: Sequence[Token], columns: Mapping[str, ColumnKind], *, keep_zones: bool) -> dict[int, str]:
    """Replacement texts by index of the token. `tokens` must not include spaces."""
    texts = {index: _text(token) for index, token in enumerate(tokens) if token.kind in ("string", "quoted")}
    found = {index: quote_text(text) for index, text in texts.items() if tokens[index].kind == "quoted"}
    for index, token in enumerate(tokens):
        if token.text in _EQUAL | _UNEQUAL and _at(tokens, index + 1).is_word("null"):
            found[index] = " IS " if token.text in _EQUAL else " IS NOT "
        elif (kind := _temporal_kind(tokens, index, columns)) is not None:
            for compared in _compared(tokens, index):
                literal = _temporal_literal(texts[compared], kind, keep_zones)
                if literal is not None:
                    found[compared] = literal
    return found


def _text(token: Token) -> str:
    """The text that a string in either kind of quotes stands for."""
    inner = token.text[1:-1]
    return inner.replace("''", "'") if token.kind == "string" else _ESCAPE.sub(_unescape, inner)


def _unescape(match: re.Match[str]) -> str:
    high, low, unit, character = match.groups()
    if high is not None:
        return (bytes.fromhex(high) + bytes.fromhex(low)).decode("utf-16-be")
    if unit is not None:
        return chr(int(unit, 16))
    if character is None:
        return '"'
    return _ESCAPED.get(character, "\\" + character)


# --- dates and times ---------------------------------------------------------------------------------


def _temporal_kind(tokens: Sequence[Token], index: int, columns: Mapping[str, ColumnKind]) -> Temporal | None:
    """The kind of the temporal column at `index`; None for other tokens, and for parts of a path or a call."""
    token = tokens[index]
    if token.kind == "word":
        name = token.text
    elif token.kind == "identifier":
        name = _identifier(token)
    else:
        return None
    if _at(tokens, index - 1).text == "." or _at(tokens, index + 1).text in (".", "("):
        return None
    kind = columns.get(name)
    return None if kind == "integer" else kind


def _compared(tokens: Sequence[Token], column: int) -> Iterator[int]:
    """Indexes of the strings that the column at `column` is compared with."""
    if _at(tokens, column - 1).text in _COMPARISONS and _is_string(tokens, column - 2):
        yield column - 2
    following = column + 1
    if _at(tokens, following).text in _COMPARISONS and _is_string(tokens, following + 1):
        yield following + 1
        return
    if _at(tokens, following).is_word("not"):
        following += 1
    if _at(tokens, following).is_word("between"):
        if _is_string(tokens, following + 1):
            yield following + 1
        if _at(tokens, following + 2).is_word("and") and _is_string(tokens, following + 3):
            yield following + 3
    elif _at(tokens, following).is_word("in") and _at(tokens, following + 1).text == "(":
        following += 2
        while following < len(tokens) and tokens[following].text != ")":
            if _is_string(tokens, following):
                yield following
            following += 1


def _at(tokens: Sequence[Token], index: int) -> Token:
    return tokens[index] if 0 <= index < len(tokens) else END


def _is_string(tokens: Sequence[Token], index: int) -> bool:
    """Whether the token is a string, and not part of a typed literal such as `date '2025-01-02'`."""
    return _at(tokens, index).kind in ("string", "quoted") and _at(tokens, index - 1).text.lower() not in _TYPED_BY


def _temporal_literal(text: str, kind: Temporal, keep_zones: bool) -> str | None:
    """A typed literal; None if `text` is not a date or time, which the engine then reports."""
    try:
        if kind == "date":
            return f"date '{parse_date(text).isoformat()}'"
        if not keep_zones and datetime.fromisoformat(text.strip()).utcoffset():
            raise InvalidRequestError(f"SQL queries ignore the zone of a time: write {text[:50]!r} in UTC")
        return f"timestamp '{parse_timestamp(text).isoformat(sep=' ')}'"
    except ValueError:
        return None


# --- depth -------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Level:
    """One level of brackets.

    Attributes:
        current: Depth of the current operand.
        deepest: The deepest operand before it.
        betweens: `BETWEEN`s whose `AND` has not been read yet.
    """

    current: int = 0
    deepest: int = 0
    betweens: int = 0

    def next_operand(self) -> None:
        self.deepest = max(self.deepest, self.current)
        self.current = 0


@dataclass(slots=True)
class _Depth:
    """An upper bound of an expression's depth, without parsing it: operators chain, brackets nest."""

    levels: list[_Level] = field(default_factory=lambda: [_Level()])
    junctions: int = 0

    def add(self, token: Token) -> None:
        level = self.levels[-1]
        if token.text in ("(", "["):
            self.levels.append(_Level())
        elif token.text in (")", "]") and len(self.levels) > 1:
            self.levels.pop()
            self.levels[-1].current += 1 + max(level.deepest, level.current)
        elif token.is_word("and") and level.betweens:
            level.betweens -= 1
            level.current += 1
        elif token.is_word("and") or token.is_word("or"):
            self.junctions += 1
            level.next_operand()
        elif token.text == ",":
            level.next_operand()
        elif token.kind in ("word", "identifier", "operator"):
            level.betweens += token.is_word("between")
            level.current += 1


def _check_depth(tokens: Sequence[Token]) -> None:
    depth = _Depth()
    for token in tokens:
        depth.add(token)
        if depth.levels[-1].current > MAX_DEPTH or len(depth.levels) > MAX_DEPTH:
            raise LimitExceededError(
                f"the SQL expression has more than {MAX_DEPTH} terms and operators between AND, OR and commas",
                limit=MAX_DEPTH,
            )
        if depth.junctions > MAX_JUNCTIONS:
            raise LimitExceededError(f"the SQL expression has over {MAX_JUNCTIONS} ANDs and ORs", limit=MAX_JUNCTIONS)
