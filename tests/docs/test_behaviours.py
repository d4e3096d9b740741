"""Every promise of the documentation has tests that show it, and every listed promise is documented.

A promise is marked in its page by an anchor whose id is a name, such as `queues.fifo`.
`tests/behaviours.toml` lists them.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path

import msgspec
import pytest

from tests.support.docs import DOCS, ROOT, ids_of, section, text_of

TESTS = ROOT / "tests"


class Behaviour(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One promise: its id, what is promised, the page below `docs/`, and tests as FILE::TEST below `tests/`."""

    id: str
    statement: str
    page: str
    tests: list[str]


def listed() -> list[Behaviour]:
    manifest = tomllib.loads((TESTS / "behaviours.toml").read_text(encoding="utf-8"))
    return msgspec.convert(manifest["behaviour"], list[Behaviour])


def documented() -> list[tuple[str, str]]:
    """Page and id of each promise; ids that begin with a digit are numbers of sections."""
    return [
        (str(page.relative_to(DOCS)), anchor)
        for page in sorted(DOCS.rglob("*.md"))
        for anchor in ids_of(page.read_text(encoding="utf-8"))
        if not anchor[0].isdigit()
    ]


@cache
def names_of_tests_in(path: Path) -> frozenset[str]:
    """Names of the test functions in a file."""
    if not path.is_file():
        return frozenset()
    found = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    functions = [node for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(function.name for function in functions if function.name.startswith("test_"))


def test_every_promise_is_listed_and_every_listed_one_documented() -> None:
    assert {(behaviour.page, behaviour.id) for behaviour in listed()} == set(documented())


def test_ids_and_statements_are_given_once() -> None:
    for values in ([behaviour.id for behaviour in listed()], [behaviour.statement for behaviour in listed()]):
        assert [value for value, count in Counter(values).items() if count > 1] == []


def test_every_promise_has_tests_and_they_exist() -> None:
    for behaviour in listed():
        assert behaviour.tests, f"{behaviour.id} has no test"
        assert len(set(behaviour.tests)) == len(behaviour.tests), behaviour.id
        for test in behaviour.tests:
            path, _, name = test.partition("::")
            assert name in names_of_tests_in(TESTS / path), f"{behaviour.id}: there is no test {test}"


def test_ids_are_names() -> None:
    for behaviour in listed():
        assert re.fullmatch(r"[a-z]+\.[a-z0-9-]+", behaviour.id), behaviour.id


@pytest.mark.parametrize("heading", ["## Strangers", "## Participants", "## Projects", "## Accidents"])
def test_every_threat_has_a_promise(heading: str) -> None:
    rows = re.findall(r"^\| (?!Threat |---)(.*) \|$", section(text_of("threat-model.md"), heading), re.MULTILINE)
    assert rows
    for row in rows:
        anchor = re.search(r'`(threat\.[a-z-]+)` <a id="([^"]+)"></a>$', row)
        assert anchor, row
        assert anchor[1] == anchor[2]
