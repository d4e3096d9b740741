"""Sizes that a reader can take in: no file over 500 lines, no function over 60."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src" / "meshagent"
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60


def sources() -> Iterator[tuple[str, str]]:
    """Path and text of every module."""
    for path in sorted(SOURCES.rglob("*.py")):
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def functions(text: str) -> Iterator[tuple[str, int]]:
    """Name and length in lines of every function, methods and inner functions included; docstrings count."""
    waiting: list[ast.AST] = [ast.parse(text)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1
        for name in (
            "body",
            "orelse",
            "handlers",
            "finalbody",
            "cases",
        ):  # where statements are; no need to look elsewhere
            inner = getattr(node, name, ())
            waiting.extend(inner if isinstance(inner, list) else ())


def test_files_are_short() -> None:
    lengths = {path: len(text.splitlines()) for path, text in sources()}
    assert {path: length for path, length in lengths.items() if length > MAX_FILE_LINES} == {}
    assert len(lengths) > 300, "the sources were found"


def test_functions_are_short() -> None:
    found = [(f"{path}: {name}", length) for path, text in sources() for name, length in functions(text)]
    assert [(name, length) for name, length in found if length > MAX_FUNCTION_LINES] == []


def test_lengths_are_counted_from_the_signature_to_the_last_line() -> None:
    text = "class A:\n  def one(self):\n    pass\n\n  async def two(self):\n    def three():\n      pass\n"
    assert sorted(functions(text)) == [("one", 2), ("three", 2), ("two", 3)]
