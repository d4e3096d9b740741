"""What comments, tests and pages cite exists: sections ("protocol 7.4"), decisions ("decision 0003"), source files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.docs import DOCS, ROOT, ids_of

FOLDERS = ("src", "tests", "docs", "examples", "benchmarks", "scripts")
SECTION = r"\d+(?:\.\d+)*"
CITATION = re.compile(rf"\b[Pp]rotocol ({SECTION}(?:(?:, | and | to ){SECTION})*)(?![\w%])")
"""One section, a list, or a range."""

DECISION = re.compile(r"\b(?:[Dd]ecisions?\s+|decisions/)(\d{4})(-[\w-]+\.md)?")
"""A decision by its number or its file."""

SOURCE_PATH = re.compile(r"`((?:src|tests|docs|examples|benchmarks|scripts|server|stores|gateway|rooms)/[\w./-]*)`")
"""A path in the repository; those without the first folder are found too, and fail."""

ABSENT_TEXTS = re.compile(
    r"room-protocol|chat-protocol|\bspec \d|\barchitecture (?:rule|section)s? \d|\b[Aa]ppendix [A-H]\b", re.IGNORECASE
)
"""Names of texts that are not in the repository."""


def texts() -> Iterator[tuple[str, str]]:
    """Path and text of all that programmers and users read, this file aside."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".md", ".toml", ".js", ".sh") and path != Path(__file__):
                yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def sections() -> set[str]:
    """Numbers of chapters and sections of the reference."""
    pages = list((DOCS / "reference" / "protocol").glob("[0-9]*.md"))
    numbers = {anchor for page in pages for anchor in ids_of(page.read_text(encoding="utf-8")) if anchor[0].isdigit()}
    return numbers | {str(int(page.name[:2])) for page in pages}


def test_every_citation_leads_to_a_section() -> None:
    known = sections()
    cited = [(path, number) for path, text in texts() for found in CITATION.findall(text) for number in numbers(found)]
    assert len(cited) > 100
    assert [(path, number) for path, number in cited if number not in known] == []


def test_every_cited_decision_exists() -> None:
    files = {path.name for path in (DOCS / "decisions").glob("*.md")}
    known = files | {name[:4] for name in files}
    cited = [
        (path, f"{number}{name}" if name else number)
        for path, text in texts()
        for number, name in DECISION.findall(text)
    ]
    assert len(cited) > 10
    assert [(path, decision) for path, decision in cited if decision not in known] == []


def test_every_path_in_the_protocol_reference_leads_from_the_root_to_a_file() -> None:
    pages = sorted((DOCS / "reference" / "protocol").glob("*.md"))
    cited = [(page.name, path) for page in pages for path in SOURCE_PATH.findall(page.read_text(encoding="utf-8"))]
    assert len(cited) > 10
    assert [(page, path) for page, path in cited if not (ROOT / path).exists()] == []


def numbers(citation: str) -> list[str]:
    return re.findall(SECTION, citation)


def test_nothing_cites_texts_that_are_not_here() -> None:
    found = [
        f"{path}:{number}: {line.strip()}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if ABSENT_TEXTS.search(line)
    ]
    assert found == []


def test_citations_are_recognised() -> None:
    assert CITATION.findall("(protocol 7.4)") == ["7.4"]
    assert numbers(CITATION.findall("Source: protocol 8.5 to 8.7.")[0]) == ["8.5", "8.7"]
    assert numbers(CITATION.findall("protocol 3, 2.7")[0]) == ["3", "2.7"]
    assert DECISION.findall("decision\n0008, docs/decisions/0003-durability.md") == [
        ("0008", ""),
        ("0003", "-durability.md"),
    ]
    assert SOURCE_PATH.findall("`server/rooms/room.py` `src/meshagent/`") == ["server/rooms/room.py", "src/meshagent/"]
