"""Parses an SQL text: one query, or one insert, update or delete that maps to an operation of the room.

DuckDB parses and runs queries. Rows are changed only through the table's write queue, durably. So changes are parsed
here. DuckDB finds the rows that an `UPDATE` or `DELETE` is about, as it does for a `SELECT` with the same condition,
and runs the query of an `INSERT`; the table engine writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import duckdb

from meshagent.api import jsontext
from meshagent.api.errors import InvalidRequestError, LimitExceededError, UnavailableError
from meshagent.server.stores.tables.filters import MAX_LENGTH
from meshagent.server.stores.tables.literals import sql_literal
from meshagent.server.stores.tables.sql_tokens import Token, tokens_of

__all__ = ["ROW_ID", "Delete", "Insert", "Query", "Statement", "Update", "parse"]

ROW_ID = "_rowid"
"""The column in which tables give the ids of their rows, to those who ask for it by name."""

_FORBIDDEN_PREFIXES = ("duckdb_", "pragma_", "read_", "parquet_", "pg_", "sniff_", "__")
_FORBIDDEN = frozenset(
    {"query", "query_table", "current_setting", "glob", "sleep_ms", "checkpoint", "force_checkpoint", "getvariable",
     "json_execute_serialized_sql", "from_substrait", "set_config", "write_log", "which_secret", "sql_auto_complete",
     "enable_logging", "disable_logging", "test_all_types", "in_search_path"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Query:
    """A query: its text, its tables and its parameters."""

    text: str
    tables: frozenset[str]
    parameters: frozenset[str]


@dataclass(frozen=True, slots=True)
class Insert:
    """Insert the rows of a query; empty `columns` means all columns in the order of the table."""

    table: str
    columns: Sequence[str]
    rows: Query


@dataclass(frozen=True, slots=True)
class Update:
    """Assign expressions to columns; parameters are substituted in them.

    Attributes:
        table: The table.
        assigned: Expressions by column.
        rows: The query for the ids of the rows; None means all rows.
        values: By column, the query for the ids of the rows and the values that are assigned.
    """

    table: str
    assigned: Mapping[str, str]
    rows: Query | None
    values: Mapping[str, Query]


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the rows whose ids a query gives; None means all rows."""

    table: str
    rows: Query | None


Statement = Query | Insert | Update | Delete


def parse(cursor: Any, text: str, parameters: Mapping[str, Any]) -> Statement:
    """Parse `text`, which must be one statement. Blocks; call it in a thread.

    Args:
        cursor: A DuckDB cursor, which determines the kind of statement.
        parameters: Values by name, or by position counted from 1.

    Raises:
        InvalidRequestError: It is not exactly one statement, or calls a function that is not allowed.
        UnavailableError: A kind of statement that is not supported.
    """
    if len(text) > MAX_LENGTH:
        raise LimitExceededError(f"the SQL text is longer than {MAX_LENGTH} characters", limit=MAX_LENGTH)
    tokens = list(tokens_of(text))
    _check_spelling(tokens)
    _check_functions([token for token in tokens if token.kind != "space"])
    statements = cursor.extract_statements(text)
    if len(statements) != 1:
        raise InvalidRequestError("give exactly one SQL statement")
    kinds = duckdb.StatementType
    match statements[0].type:
        case kinds.SELECT:
            return _query(cursor, text, statements[0])
        case kinds.INSERT:
            return _ChangeParser(tokens, parameters).insert(cursor)
        case kinds.UPDATE:
            return _ChangeParser(tokens, parameters).update(cursor)
        case kinds.DELETE:
            return _ChangeParser(tokens, parameters).delete(cursor)
    raise UnavailableError("unsupported statement: only SELECT, INSERT, UPDATE and DELETE are supported")


def _query(cursor: Any, text: str, statement: Any) -> Query:
    plain = _without_parameters(text)
    try:
        tables = cursor.get_table_names(plain)
    except duckdb.BinderException:  # it looks for the columns of USING, NATURAL, COLUMNS and UNPIVOT, too early
        tables = _parsed_tables(cursor, plain)
    return Query(text, frozenset(tables), frozenset(statement.named_parameters))


def _parsed_tables(cursor: Any, text: str) -> set[str]:
    """The tables that a query names, from its syntax tree; only those of them that are registered can be read."""
    (tree,) = cursor.execute("SELECT json_serialize_sql(?::VARCHAR)", [text]).fetchone()
    tables: set[str] = set()
    defined: set[str] = set()
    waiting = [jsontext.loads(tree)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if node.get("type") == "BASE_TABLE" and not node.get("schema_name"):
                tables.add(node["table_name"])
            defined.update(entry["key"] for entry in (node.get("cte_map") or {}).get("map", ()))
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return tables - defined


def _without_parameters(text: str) -> str:
    """The query with `NULL` for each parameter: DuckDB cannot list the tables of a query with parameters."""
    parts: list[str] = []
    tokens = tokens_of(text)
    for token in tokens:
        if token.text == "$":
            next(tokens, None)
        parts.append(" NULL " if token.text in ("$", "?") else token.text)
    return "".join(parts)


def _check_spelling(tokens: Sequence[Token]) -> None:
    """Reject quotes and comments that DuckDB and `tokens_of` parse differently."""
    for token, following in pairwise(tokens):
        if token.text == "$" and following.text == "$":
            raise InvalidRequestError("use single-quoted strings, not dollar quoting")
        if token.kind == "word" and token.text.lower() in ("e", "u") and following.kind == "string":
            raise InvalidRequestError("use plain single-quoted strings, without escapes")
    if any(token.kind == "space" and token.text.count("/*") > 1 for token in tokens):
        raise InvalidRequestError("nested comments are not supported")
    for opening, name, closing in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if opening.text == closing.text == "$" and name.kind == "word":
            raise InvalidRequestError("use single-quoted strings, not dollar quoting")


def _check_functions(tokens: Sequence[Token]) -> None:
    for token, following in pairwise(tokens):
        if following.text == "(" and token.kind in ("word", "quoted"):
            name = token.text.strip('"').lower()
            if name in _FORBIDDEN or name.startswith(_FORBIDDEN_PREFIXES):
                raise InvalidRequestError(f"function {name!r} is not allowed")


class _ChangeParser:
    """Parses an insert, update or delete from tokens, after DuckDB has accepted its syntax."""

    def __init__(self, tokens: Sequence[Token], parameters: Mapping[str, Any]) -> None:
        self._all = tokens
        self._places = [place for place, token in enumerate(tokens) if token.kind != "space"]
        while self._places and tokens[self._places[-1]].text == ";":
            self._places.pop()
        self._parameters = parameters
        self._position = 0
        self._questions = 0

    def insert(self, cursor: Any) -> Insert:
        self._expect("insert")
        self._expect("into")
        table = self._name()
        columns: list[str] = []
        if self._is("(") and not self._is("select", "with", "values", "from", "(", ahead=1):
            self._take()
            columns.append(self._name())
            while self._is(","):
                self._take()
                columns.append(self._name())
            self._expect(")")
        if not self._is("select", "values", "with", "from", "("):
            raise _unsupported("INSERT INTO table [(columns)] VALUES or SELECT")
        text = self._text(self._position, len(self._places))
        (statement,) = cursor.extract_statements(text)
        return Insert(table, columns, _query(cursor, text, statement))

    def update(self, cursor: Any) -> Update:
        self._expect("update")
        table = self._name()
        self._expect("set")
        assigned: dict[str, str] = {}
        given: dict[str, str] = {}
        while True:
            column = self._name()
            self._expect("=")
            if column in assigned:
                raise InvalidRequestError(f"column {column!r} is assigned twice")
            assigned[column], given[column] = self._expression("where", "from", "returning", ",")
            if not self._is(","):
                break
            self._take()
        form = "UPDATE table SET column = expression, … [WHERE condition]"
        condition = self._condition(form)
        values = {
            column: self._selected(cursor, table, condition, f", ({expression})")
            for column, expression in given.items()
        }
        rows = None if condition is None else self._selected(cursor, table, condition)
        return Update(table, assigned, rows, values)

    def delete(self, cursor: Any) -> Delete:
        self._expect("delete")
        self._expect("from")
        table = self._name()
        condition = self._condition("DELETE FROM table [WHERE condition]")
        return Delete(table, None if condition is None else self._selected(cursor, table, condition))

    def _condition(self, form: str) -> str | None:
        if self._position == len(self._places):
            return None
        if not self._is("where"):
            raise _unsupported(form)
        self._take()
        start = self._position
        _, where = self._expression("returning")
        if self._position != len(self._places):
            raise _unsupported(form)
        for place, following in pairwise(self._places[start:]):
            if self._all[place].is_word("columns") and self._all[following].text == "(":
                raise InvalidRequestError("COLUMNS is not supported in the condition of a change")
        return where

    def _selected(self, cursor: Any, table: str, condition: str | None, columns: str = "") -> Query:
        """The query for the ids of rows, and what else they have."""
        quoted = '"' + table.replace('"', '""') + '"'
        text = f"SELECT {ROW_ID}{columns} FROM {quoted}"  # noqa: S608 - expressions, as DuckDB has found
        if condition is not None:
            text += f" WHERE ({condition})"
        statements = cursor.extract_statements(text)
        if len(statements) != 1:
            raise InvalidRequestError("give exactly one SQL statement")
        return _query(cursor, text, statements[0])

    def _expression(self, *ends: str) -> tuple[str, str]:
        """The text up to one of `ends` outside brackets: with parameters as literals, and with parameters by name."""
        text, named, depth = "", "", 0
        while self._position < len(self._places) and not (depth == 0 and self._is(*ends)):
            if text and self._all[self._places[self._position] - 1].kind == "space":
                text += " "
                named += " "
            token = self._take()
            depth += (token.text in ("(", "[")) - (token.text in (")", "]"))
            if token.text in ("?", "$"):
                name = self._parameter(token)
                text += self._literal(name)
                named += f"${name}"
            else:
                text += token.text
                named += token.text
        return text, named

    def _text(self, start: int, end: int) -> str:
        """The text between two significant tokens."""
        if start >= end:
            return ""
        return "".join(token.text for token in self._all[self._places[start] : self._places[end - 1] + 1])

    def _parameter(self, token: Token) -> str:
        if token.text == "$":
            return self._take().text
        self._questions += 1
        return str(self._questions)

    def _literal(self, name: str) -> str:
        if name not in self._parameters:
            raise InvalidRequestError(f"missing query parameter {name!r}")
        return sql_literal(self._parameters[name])

    def _name(self) -> str:
        token = self._take()
        if token.kind not in ("word", "quoted"):
            raise InvalidRequestError(f"expected a name, not {token.text[:50]!r}")
        if self._is("."):
            raise InvalidRequestError("tables have no schema or catalog: use the table name alone")
        return token.text if token.kind == "word" else token.text[1:-1].replace('""', '"')

    def _expect(self, text: str) -> None:
        if not self._is(text):
            raise _unsupported("INSERT INTO …, UPDATE … SET … and DELETE FROM …")
        self._take()

    def _take(self) -> Token:
        if self._position >= len(self._places):
            raise InvalidRequestError("unexpected end of the statement")
        self._position += 1
        return self._all[self._places[self._position - 1]]

    def _is(self, *texts: str, ahead: int = 0) -> bool:
        places = self._places[self._position + ahead : self._position + ahead + 1]
        return any(self._all[place].text.lower() in texts for place in places)


def _unsupported(form: str) -> UnavailableError:
    return UnavailableError(f"unsupported statement; supported: {form}")
