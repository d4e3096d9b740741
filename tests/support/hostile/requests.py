"""Random requests of every operation that a room serves, made from the types that it declares."""

from __future__ import annotations

import importlib
import json
import pkgutil
import random
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import inspect

from meshagent.api import contracts
from meshagent.api.contracts.operation import Operation
from tests.support.hostile.mutations import any_text, any_value, mutated_text, mutated_value

FILTERS: Final = (
    "id = 1",
    "id > 0 AND name LIKE 'a%'",
    "id IN (1, 2, 3) OR NOT (name IS NULL)",
    "id BETWEEN -3 AND 7 AND score >= 0.5",
    "(id + 1) * 2 % 3 = 1",
    "lower(name) = 'anna' OR name IN ('b', 'c')",
    "CAST(id AS VARCHAR) = '7'",
)
SQL: Final = (
    "SELECT * FROM things",
    "SELECT name, count(*) AS n FROM things WHERE id > 1 GROUP BY name ORDER BY n DESC LIMIT 3",
    "WITH a AS (SELECT id FROM things) SELECT a.id, t.name FROM a JOIN things t USING (id)",
    "SELECT CASE WHEN id > 2 THEN 'x' ELSE upper(name) END FROM things UNION ALL SELECT 'y'",
    "UPDATE things SET score = score + 1 WHERE id = 3",
    "DELETE FROM things WHERE id = 100",
    "INSERT INTO things (id, name) VALUES (7, 'x')",
)
WORDS: Final = [
    "AND",
    "OR",
    "NOT",
    "(",
    ")",
    ",",
    "=",
    "id",
    "name",
    "score",
    "things",
    "SELECT",
    "FROM",
    "NULL",
    "IN",
    "*",
    "/",
]

_NAMES: Final = {
    "table": ("things", "other", "made"),
    "path": ("a.txt", "b/c.txt", "doc.document", "", "b", "notes.thread"),
    "column": ("id", "name", "score", "vector"),
    "schema": ("thread", "document"),
    "toolkit": ("tools", "storage", "dataset"),
    "tool": ("t", "list", "search"),
}
"""Texts that mean something, by a part of the name of the member."""

LEFT_OUT: Final = frozenset({"agent.call"})
"""Calls a URL outside of the server."""

MAY_WAIT: Final = frozenset({"queues.receive", "agent.ask", "agent.invoke_tool", "room.invoke_tool"})
"""Requests that may wait for somebody who never comes."""

Request = tuple[str, Any, bytes]
"""Message type, header, payload."""


def operations() -> list[Operation[Any, Any]]:
    """Every operation that a room serves."""
    found: dict[str, Operation[Any, Any]] = {}
    for module in pkgutil.iter_modules(contracts.__path__):
        members = vars(importlib.import_module(f"{contracts.__name__}.{module.name}")).values()
        found |= {member.name: member for member in members if isinstance(member, Operation)}
    return [found[name] for name in sorted(found) if name not in LEFT_OUT]


def request_of(operation: Operation[Any, Any], chance: random.Random) -> Request:
    """A request as `operation` declares it, mostly with something wrong in it."""
    header = _value_of(inspect.type_info(operation.request), "", chance)
    if chance.random() < 0.5:
        header = mutated_value(header, chance)
    payload = chance.randbytes(chance.randrange(40)) if chance.random() < 0.3 else b""
    if chance.random() < 0.5:
        return operation.name, header, payload
    area, _, tool = operation.name.partition(".")
    arguments = {"type": "json", "json": header}
    return "room.invoke_tool", {"toolkit": area, "tool": tool, "arguments": arguments}, payload


def filter_text(chance: random.Random) -> str:
    return mutated_text(chance.choice(FILTERS), chance, WORDS)


def sql_text(chance: random.Random) -> str:
    return mutated_text(chance.choice(SQL), chance, WORDS)


def _value_of(kind: inspect.Type, name: str, chance: random.Random) -> Any:
    match kind:
        case inspect.StructType():
            fields = [field for field in kind.fields if field.required or chance.random() < 0.5]
            return {field.encode_name: _value_of(field.type, field.encode_name, chance) for field in fields}
        case inspect.UnionType():
            return _value_of(chance.choice(kind.types), name, chance)
        case inspect.ListType() | inspect.CollectionType():
            return [_value_of(kind.item_type, name, chance) for _ in range(chance.randrange(4))]
        case inspect.DictType():
            return {
                _text_of(name, chance): _value_of(kind.value_type, name, chance) for _ in range(chance.randrange(4))
            }
        case inspect.LiteralType():
            return chance.choice(kind.values)
        case inspect.StrType():
            return _text_of(name, chance)
        case inspect.BoolType():
            return chance.random() < 0.5
        case inspect.IntType() | inspect.FloatType():
            return chance.choice((0, 1, 2, 10, -1, 0.5))
        case inspect.NoneType():
            return None
        case _:
            return any_value(chance)


def _text_of(name: str, chance: random.Random) -> str:
    if name in ("where", "value_sql", "values_sql", "new_columns"):
        return filter_text(chance)
    if name in ("query", "sql"):
        return sql_text(chance)
    for part, texts in _NAMES.items():
        if part in name and chance.random() < 0.8:
            return chance.choice(texts)
    return chance.choice(("things", "q", "jobs", "a.txt")) if chance.random() < 0.6 else any_text(chance)


def encoded(header: object) -> bytes:
    """A header as JSON, with what Python alone can write in it, such as NaN or lone surrogates."""
    return msgspec.json.encode(header) if isinstance(header, msgspec.Struct) else json.dumps(header).encode()


def pick(requests: Sequence[Request], chance: random.Random) -> Request:
    """One of `requests` with its header or payload changed."""
    kind, header, payload = chance.choice(requests)
    if chance.random() < 0.7:
        header = mutated_value(header, chance)
    return kind, header, payload
