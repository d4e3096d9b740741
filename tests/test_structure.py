"""The shape of the repository: short files and functions, tests for every package, links to every page, and layers that
the documentation draws as the import contracts have them."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src" / "meshagent"
DOCS = ROOT / "docs"
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


def packages() -> set[str]:
    """The packages that hold modules, by their dotted names."""
    paths = (path.relative_to(ROOT / "src") for path in SOURCES.rglob("*.py") if path.name != "__init__.py")
    return {".".join(path.parent.parts) for path in paths}


def imported_names(text: str) -> set[str]:
    """The dotted names of the modules that a program imports from, anywhere in it."""
    return set(re.findall(r"^ *(?:from|import) ([\w.]+)", text, re.MULTILINE))


def test_tests_import_from_every_package() -> None:
    names = set().union(*(imported_names(path.read_text("utf-8")) for path in (ROOT / "tests").rglob("*.py")))
    known = names | {name.rpartition(".")[0] for name in names}
    assert packages() - known == {"meshagent.server.accounts.migrations.versions"}, "alembic alone loads these"


def test_every_file_of_the_documentation_is_linked() -> None:
    linked = set()
    for page in [*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)\s#]+)", page.read_text(encoding="utf-8")):
            linked.add((page.parent / target).resolve())
    files = {path for path in DOCS.rglob("*") if path.is_file()}
    assert {str(path.relative_to(ROOT)) for path in files - linked} == set()


def contract_layers() -> list[list[str]]:
    """The server's layers from the top as the import contract has them; modules that may import each other together."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    [contract] = [c for c in project["tool"]["importlinter"]["contracts"] if c["id"] == "server-layers"]
    return [re.findall(r"\w+", layer) for layer in contract["layers"]]


def drawn_layers() -> list[list[str]]:
    """The same as the picture in the documentation has them: names that begin the lines of its boxes."""
    text = (DOCS / "explanation" / "architecture.md").read_text(encoding="utf-8")
    picture = text.partition("<!-- layers -->")[2].split("```")[1]
    rows = [re.findall(r"│ (\w+)/?(?=  )", line) for line in picture.splitlines() if line.startswith("│")]
    return [row for row in rows if row]


def test_the_documentation_draws_the_layers_that_imports_obey() -> None:
    assert [sorted(layer) for layer in drawn_layers()] == [sorted(layer) for layer in contract_layers()]
