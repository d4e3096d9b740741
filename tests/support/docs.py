"""The pages of the documentation, as tests read them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def pages() -> list[Path]:
    """Every page that users read: the README, the changelog, `docs/`, and the overviews of examples and benchmarks."""
    others = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "examples/README.md", "benchmarks/README.md")
    return [*(ROOT / name for name in others), *sorted(DOCS.rglob("*.md"))]


def text_of(name: str) -> str:
    """The text of a page, by its path below `docs/`."""
    return (DOCS / name).read_text(encoding="utf-8")


def table_rows(text: str) -> list[list[str]]:
    """The cells of all rows of all tables, heads and rules left out."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not re.fullmatch(r"[|\s:-]+", line)]
    return [[_visible(cell) for cell in line.strip("|").split("|")] for line in lines]


def _visible(cell: str) -> str:
    return re.sub(r" *<a id=[^>]*></a>", "", cell).strip()


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next one of its level or above."""
    level = len(heading) - len(heading.lstrip("#"))
    _, _, rest = text.partition(f"\n{heading}\n")
    assert rest, f"there is no section {heading!r}"
    return re.split(rf"^#{{1,{level}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def anchors_of(text: str) -> set[str]:
    """The fragments that a page can be linked by: ids that it gives, and headings as GitHub turns them into ids."""
    without_code = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = [re.sub(r" *<[^>]*>", "", heading) for heading in re.findall(r"^#+ (.+)$", without_code, re.MULTILINE)]
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(ids_of(without_code))


def ids_of(text: str) -> list[str]:
    """The ids that a page gives to its parts: numbers of sections (`7.4`) and names of promises (`queues.fifo`)."""
    return re.findall(r'<a id="([^"]+)"></a>', text)
