"""The grammar of filters and expressions: a text is judged to its end before any of it runs.

The table engine (LanceDB 0.40) reads the longest prefix that is an expression and ignores the rest: `id > 0 id = 3`
means `id > 0` to it. So a text must match this grammar as a whole; what it has no rule for is refused.

    expression := operand ((AND | OR) operand)*
    operand    := NOT* sum [comparison sum | [NOT] LIKE/ILIKE sum [ESCAPE text] | [NOT] BETWEEN sum AND sum
                  | [NOT] IN (list)] (IS [NOT] (NULL | TRUE | FALSE))*
    sum        := term (("+" | "-" | "*" | "/" | "%" | "||") term)*
    term       := ("+" | "-")* primary ("::" type | "[" expression "]" | "." name)*
    primary    := number | text | X text | DATE/TIMESTAMP text | CAST/TRY_CAST (expression AS type)
                  | function ([list]) | name | (expression) | [[list]]

With `standard_sql`, what the table engine and the SQL engine (DuckDB 2.0) understand differently is refused or
rewritten, so that a filter selects the same rows as `SELECT … WHERE` with the same condition.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from meshagent.api.errors import InvalidRequestError
from meshagent.server.stores.tables.choices import Choice, wraps
from meshagent.server.stores.tables.sql_tokens import END, Token

__all__ = ["ColumnKind", "Respelling", "check_expression"]

ColumnKind = Literal["date", "timestamp", "integer"]
"""The kinds of columns for which an expression is judged or rewritten."""

Kind = Literal["integer", "other", "unknown"]
"""What an expression gives: integers, surely something else, or what only an engine knows."""

_NUMBER = re.compile(r"\d+(\.\d*)?([eE]\d+)?|\d+(\.\d*)?[eE]")
_COMPARISONS = frozenset({"=", "==", "!=", "<>", "<", "<=", ">", ">="})
_CONSTANTS = frozenset({"null", "true", "false"})
_EQUATIONS = frozenset({"=", "==", "!=", "<>"})
_RESERVED = frozenset(
    {"and", "or", "not", "in", "is", "between", "like", "ilike", "escape", "select", "case", "exists"}
)
_SMALLEST = str(2**63)
"""The engine reads `-9223372036854775808` as minus a number that fits no column of integers."""


class Respelling(NamedTuple):
    """Where the engine needs another spelling.

    Attributes:
        texts: Texts to put in place of tokens, by index.
        wraps: The first and the last token of what to wrap in `nullif(…, NULL)`, and how many times; see `choices`.
    """

    texts: dict[int, str]
    wraps: list[tuple[int, int, int]]


def check_expression(
    tokens: Sequence[Token],
    columns: Mapping[str, ColumnKind] | None = None,
    *,
    standard_sql: bool = False,
) -> Respelling:
    """Check that `tokens`, spaces among them, are exactly one expression, and return how to spell it.

    Raises:
        InvalidRequestError: They are not, or the engines would disagree about what they mean.
    """
    parser = _Parser(tokens, columns or {}, standard_sql)
    parser.whole()
    return Respelling(parser.replacements, wraps(parser.choices))


class _Parser:
    """A recursive descent over the tokens, one method a rule; operators in a row need no recursion."""

    def __init__(self, tokens: Sequence[Token], columns: Mapping[str, ColumnKind], standard_sql: bool) -> None:
        self._tokens = tokens
        self._places = [place for place, token in enumerate(tokens) if token.kind != "space"]
        self._columns = columns
        self._standard_sql = standard_sql
        self._position = 0
        self.replacements: dict[int, str] = {}
        self.choices: list[Choice] = []

    def whole(self) -> None:
        self._expression()
        if self._position < len(self._places):
            raise self._unexpected("the end of the expression or an operator")

    # --- rules -----------------------------------------------------------------------------------------

    def _expression(self) -> Kind:
        kind = self._operand()
        while self._accept("and", "or"):
            self._operand()
            kind = "other"
        return kind

    def _operand(self) -> Kind:
        negated = False
        while self._accept("not"):
            negated = True
        known, start = len(self.choices), self._position
        kind = self._sum()
        below = len(self.choices)
        if self._predicate(start):
            self._mark_inside(known, below)
            kind = "other"
        if negated:
            self._mark_inside(known)
            kind = "other"
        while self._accept("is"):
            self._mark_inside(known)
            self._accept("not")
            if not self._accept("null", "true", "false"):
                raise self._unexpected("NULL, TRUE or FALSE")
            kind = "other"
        return kind

    def _mark_inside(self, start: int, end: int | None = None) -> None:
        for choice in self.choices[start:end]:
            choice.is_inside = True

    def _predicate(self, start: int) -> bool:
        """What follows the sum that begins at `start`; whether anything does."""
        end = self._position
        if self._next().text in _COMPARISONS:
            self._compare(start)
            return True
        negated = self._accept("not")
        known = len(self.choices)
        if self._accept("between"):
            self._sum()
            self._expect("and")
            self._sum()
            self._mark_inside(known)
        elif self._accept("in"):
            self._expect("(")
            self._list(")")
            self._mark_inside(known)
            self._note("list", start, end, is_negative=negated)
        elif self._accept("like", "ilike"):
            self._pattern()
        elif negated:
            raise self._unexpected("BETWEEN, IN or LIKE")
        else:
            return False
        return True

    def _compare(self, start: int) -> None:
        end = self._position
        operator = self._take().text
        known = len(self.choices)
        if self._standard_sql and self._next().is_word("null"):
            right = "IS NULL" if operator in ("=", "==") else "IS NOT NULL"
            raise InvalidRequestError(f"nothing is ever {operator} NULL in SQL: write {right}")
        right_start = self._position
        self._sum()
        self._mark_inside(known)
        if operator in _EQUATIONS:
            if self._is_column(start, end):
                self._note("equation", start, end)
            elif self._is_column(right_start, self._position):
                self._note("equation", right_start, self._position)

    def _is_column(self, start: int, end: int) -> bool:
        tokens = [self._tokens[place] for place in self._places[start:end]]
        names = [token for token in tokens if token.text not in ("(", ")")]
        return len(names) == 1 and names[0].kind in ("word", "identifier") and names[0].text.lower() not in _CONSTANTS

    def _note(self, kind: Literal["list", "equation"], start: int, end: int, *, is_negative: bool = False) -> None:
        places = self._places[start:end]
        subject = "".join(self._tokens[place].text.strip("()`").lower() for place in places)
        self.choices.append(Choice(kind, subject, places[0], places[-1], is_negative))

    def _pattern(self) -> None:
        """A pattern; the engine takes backslashes for escapes always, standard SQL only after `ESCAPE`."""
        place = self._place()
        literal = self._next().kind == "string"
        self._sum()
        if self._accept("escape"):
            if self._take().text != "'\\'":
                raise InvalidRequestError("the character after ESCAPE must be '\\'")
        elif self._standard_sql:
            text = self._tokens[place].text
            if not literal or self._places[self._position - 1] != place:
                raise InvalidRequestError("the pattern of LIKE must be a text in single quotes")
            if "\\" in text:
                self.replacements[place] = text.replace("\\", "\\\\")

    def _sum(self) -> Kind:
        term = self._term()
        whole = term
        while (operator := self._operator()) is not None:
            right = self._term()
            if operator == "/" and self._standard_sql and "other" not in (term, right):
                raise InvalidRequestError(
                    "dividing integers means different things in filters and in SQL queries: "
                    "convert one of them, as in CAST(n AS DOUBLE) / 2"
                )
            term = right if operator in ("+", "-", "||") else _common(term, right)
            whole = _common(whole, term)
        return whole

    def _operator(self) -> str | None:
        """The operator between two terms, if there is one here."""
        token = self._next()
        if token.text in ("+", "-", "*", "/", "%"):
            return self._take().text
        if token.text == "|" and self._adjoins("|"):
            self._position += 2
            return "||"
        return None

    def _term(self) -> Kind:
        minus: int | None = None
        while self._next().text in ("+", "-"):
            minus = self._place() if self._next().text == "-" else None
            self._take()
        if minus is not None and self._next().text == _SMALLEST:
            self.replacements[minus] = ""
            self.replacements[self._place()] = f"(-{2**63 - 1} - 1)"
        kind = self._primary()
        while True:
            if self._next().text == ":" and self._adjoins(":"):
                self._position += 2
                kind = self._converted(kind)
            elif self._accept("["):
                self._expression()
                self._expect("]")
                kind = "unknown"
            elif self._accept("."):
                self._name()
                kind = "unknown"
            else:
                return kind

    def _primary(self) -> Kind:
        token = self._next()
        match token.kind:
            case "number":
                return self._number()
            case "string" | "quoted":
                self._take()
                return "other"
            case "identifier":
                return self._column(self._take().text[1:-1].replace("``", "`"))
            case "word":
                return self._word()
        if self._accept("("):
            kind = self._expression()
            self._expect(")")
            return kind
        if self._accept("["):
            self._list("]")
            return "other"
        if token.text == "." and self._adjoins_kind("number"):
            self._take()
            self._number()
            return "other"
        raise self._unexpected("a value, a column or a function")

    def _word(self) -> Kind:
        place = self._place()
        word = self._take().text
        lowered = word.lower()
        if lowered in _RESERVED:
            self._position -= 1
            raise self._unexpected("a value, a column or a function")
        if self._next().kind == "string":
            return self._typed_literal(lowered, adjoins=self._place() == place + 1)
        if self._next().text == "(":
            return self._call(lowered)
        return "other" if lowered in ("true", "false", "null") else self._column(word)

    def _typed_literal(self, word: str, *, adjoins: bool) -> Kind:
        if word not in ("date", "timestamp") and not (word == "x" and adjoins):
            raise self._unexpected("an operator")
        self._take()
        return "other"

    def _call(self, name: str) -> Kind:
        self._expect("(")
        known = len(self.choices)
        if name in ("cast", "try_cast"):
            kind = self._expression()
            self._expect("as")
            kind = self._converted(kind)
            self._expect(")")
        else:
            self._list(")")
            kind = "unknown"
        self._mark_inside(known)
        return kind

    def _converted(self, given: Kind) -> Kind:
        wanted = self._type()
        if wanted == "integer" != given and self._standard_sql:
            raise InvalidRequestError(
                "converting to integers means different things in filters and in SQL queries: the ones round, "
                "the others cut off; use round, floor or ceil"
            )
        return wanted

    def _list(self, closing: str) -> None:
        """Expressions with commas between them; the opening bracket has been taken."""
        if self._accept(closing):
            return
        self._expression()
        while self._accept(","):
            self._expression()
        self._expect(closing)

    def _number(self) -> Kind:
        place = self._place()
        text = self._take().text
        if not _NUMBER.fullmatch(text):
            raise InvalidRequestError(f"SQL syntax error: {text[:50]!r} is not a number")
        if text[-1] in "eE":  # the sign and the digits of an exponent are tokens of their own
            sign, digits = (*self._tokens[place + 1 : place + 3], END, END)[:2]
            if sign.text not in ("+", "-") or not digits.text.isdecimal():
                raise InvalidRequestError(f"SQL syntax error: {text[:50]!r} is not a number")
            self._position += 2
        return "integer" if text.isdecimal() else "other"

    def _type(self) -> Kind:
        name = self._name().lower()
        if self._accept("("):
            self._number()
            while self._accept(","):
                self._number()
            self._expect(")")
        if name == "double":
            self._accept("precision")
        return "integer" if name.endswith(("int", "integer", "int8", "int16", "int32", "int64")) else "other"

    def _name(self) -> str:
        if self._next().kind not in ("word", "identifier"):
            raise self._unexpected("a name")
        return self._take().text

    def _column(self, name: str) -> Kind:
        return "integer" if self._columns.get(name) == "integer" else "other"

    # --- tokens ----------------------------------------------------------------------------------------

    def _place(self) -> int:
        return self._places[self._position] if self._position < len(self._places) else len(self._tokens)

    def _next(self) -> Token:
        return self._tokens[self._places[self._position]] if self._position < len(self._places) else END

    def _take(self) -> Token:
        token = self._next()
        self._position += 1
        return token

    def _accept(self, *texts: str) -> bool:
        token = self._next()
        found = token.kind in ("word", "operator") and token.text.lower() in texts
        self._position += found
        return found

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise self._unexpected(text.upper())

    def _adjoins(self, text: str) -> bool:
        """Whether `text` is the token right after the next one, without a space."""
        return self._after(lambda token: token.text == text)

    def _adjoins_kind(self, kind: str) -> bool:
        return self._after(lambda token: token.kind == kind)

    def _after(self, holds: Callable[[Token], bool]) -> bool:
        following = self._place() + 1
        return following < len(self._tokens) and holds(self._tokens[following])

    def _unexpected(self, wanted: str) -> InvalidRequestError:
        found = self._next()
        where = "at the end" if found is END else f"at {found.text[:50]!r}"
        return InvalidRequestError(f"SQL syntax error {where}: expected {wanted}")


def _common(left: Kind, right: Kind) -> Kind:
    """What arithmetic with operands of these kinds gives."""
    if left == right:
        return left
    return "other" if "other" in (left, right) else "unknown"
