"""Prints the lowest version of each dependency that pyproject.toml admits, as requirements for pip.

Tools for tests have no lowest version: they are at the versions of constraints.txt. Those that only
linters and slow tests need are left out.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
EXTRAS = ("server", "agents")
NOT_NEEDED = re.compile(r"import-linter|mypy|ruff|schemathesis|types-.*")


def lowest_versions() -> dict[str, str]:
    """The lower bound of each dependency of the package and of its extras `server` and `agents`, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = [*project["dependencies"], *(text for extra in EXTRAS for text in project["optional-dependencies"][extra])]
    return {name: version for requirement in map(Requirement, texts) for name, version in _bounds(requirement)}


def _bounds(requirement: Requirement) -> Iterator[tuple[str, str]]:
    for specifier in requirement.specifier:
        if specifier.operator in (">=", "=="):
            yield canonicalize_name(requirement.name), specifier.version


def tool_versions() -> dict[str, str]:
    """The pinned version of each tool in requirements-dev.txt, by name."""
    tools = re.findall(r"^[A-Za-z0-9._-]+", (ROOT / "requirements-dev.txt").read_text(encoding="utf-8"), re.MULTILINE)
    pins = dict(
        re.findall(r"^([^#\s=]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    )
    pinned = {canonicalize_name(name): version for name, version in pins.items()}
    return {
        canonicalize_name(name): pinned[canonicalize_name(name)] for name in tools if not NOT_NEEDED.fullmatch(name)
    }


if __name__ == "__main__":
    for name, version in sorted({**tool_versions(), **lowest_versions()}.items()):
        print(f"{name}=={version}")
