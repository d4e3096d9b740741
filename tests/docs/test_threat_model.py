"""The threat model names tests that exist."""

from __future__ import annotations

import ast
import re

from tests.support.docs import ROOT, section, table_rows, text_of

PAGE = text_of("threat-model.md")


def names_of_tests_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", PAGE)
    assert named
    assert [f"{path}::{name}" for path, name in named if name not in names_of_tests_in(path)] == []


def test_every_threat_names_a_test() -> None:
    for heading in ("## Strangers", "## Participants", "## Projects", "## Accidents"):
        for threat, _, shown_by in table_rows(section(PAGE, heading))[1:]:
            assert "::test_" in shown_by, threat
