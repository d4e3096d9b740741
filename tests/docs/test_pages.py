"""Links between pages lead somewhere, every page is listed, and code in pages is code.

A Python block that stands on its own is run, if the comment `<!-- run -->` or `<!-- run: OUTPUT -->` stands before it:
as a program that knows a server, whose output must be OUTPUT where that is given. After `<!-- run as tests -->` it is
run by pytest, with the plugin that the package installs.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support.docs import DOCS, ROOT, anchors_of, pages
from tests.support.examples import Examples
from tests.support.other_project import run_pytest

BLOCK = re.compile(
    r"(?:<!-- run(?:: (?P<output>[^\n]*))? -->\n(?P<run>))?```python\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE
)
LINK = re.compile(r"\]\(([^)\s]+)\)")


TESTS = re.compile(r"<!-- run as tests -->\n```python\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def runnable() -> list[tuple[str, str, str | None]]:
    found = [(page, block) for page in pages() for block in BLOCK.finditer(page.read_text(encoding="utf-8"))]
    return [(name_of(page), block["code"], block["output"]) for page, block in found if block["run"] is not None]


def runnable_tests() -> list[tuple[str, str]]:
    return [(name_of(page), block["code"]) for page in pages() for block in TESTS.finditer(page.read_text("utf-8"))]


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in LINK.findall(text):
        if re.match(r"\w+:", link):
            continue
        target, _, fragment = link.partition("#")
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), link
        if fragment:
            assert fragment in anchors_of(there.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_python_in_pages_is_python(page: Path) -> None:
    for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
        code = block["code"].replace("[…]", "[...]")
        if code.rstrip().endswith('"""'):
            code += "    ...\n"  # the head of a function, with its docstring
        compile(code, name_of(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_every_page_is_listed() -> None:
    """A folder with an overview of its own lists its pages there, and is itself listed in the one above."""
    for page in DOCS.rglob("*.md"):
        if page.parent.name == "decisions" or page == DOCS / "README.md":
            continue
        folder = next(
            above for above in page.parents if (above / "README.md").is_file() and above / "README.md" != page
        )
        overview = (folder / "README.md").read_text(encoding="utf-8")
        assert f"({page.relative_to(folder)})" in overview, f"{folder / 'README.md'} does not list {page.name}"


def test_decisions_have_numbers_of_their_own() -> None:
    numbers = [page.name[:4] for page in (DOCS / "decisions").glob("*.md")]
    assert sorted(numbers) == sorted(set(numbers))
    assert all(number.isdigit() for number in numbers)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "code", "output"), runnable())
async def test_programs_in_pages_run(page: str, code: str, output: str | None, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(code)
    from tests.support.server import serve  # here, so that the other tests do not count as those of a whole server

    async with serve(tmp_path / "data") as server:
        said = await Examples(server).run(str(program.with_suffix("")))
    assert output is None or said.rstrip("\n") == output


@pytest.mark.slow
@pytest.mark.parametrize(("page", "code"), runnable_tests())
def test_tests_in_pages_pass(page: str, code: str, tmp_path: Path) -> None:
    said = run_pytest(tmp_path, code, "pytest_asyncio.plugin", "meshagent.testing.pytest_plugin")
    assert re.search(r"^\d+ passed in", said, re.MULTILINE), said


def test_some_programs_in_pages_are_run() -> None:
    assert {page for page, _, _ in runnable()} >= {"README.md"}
    assert {page for page, _ in runnable_tests()} == {"docs/how-to/test-your-agents.md"}
