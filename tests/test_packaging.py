"""What the distribution promises: a namespace package, a light SDK, pinned versions, a README that is true."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
SERVER_PARTS = ("uvloop", "sqlalchemy", "alembic", "lancedb", "pyarrow", "prometheus_client", "websockets", "numpy")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def pins(file: str = "constraints.txt") -> dict[str, str]:
    lines = [line for line in read(file).splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^\s;@/]+", line) for line in lines), "only NAME==VERSION, and no host"
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}


def requirements(*, development: bool = True) -> list[Requirement]:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    optional = [text for texts in project["optional-dependencies"].values() for text in texts]
    tools = [line for line in read("requirements-dev.txt").splitlines() if line and not line.startswith("#")]
    found = [Requirement(text) for text in [*project["dependencies"], *optional, *(tools if development else ())]]
    return [requirement for requirement in found if requirement.name != project["name"]]


def test_every_dependency_is_pinned_to_a_version_that_it_allows() -> None:
    pinned = pins()
    for requirement in requirements():
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


def test_the_lowest_versions_are_those_that_are_tested() -> None:
    pinned = pins("constraints-lowest.txt")
    for requirement in requirements(development=False):
        if requirement.name in ("xllamacpp", "livekit-agents"):  # extras that are tested by hand
            continue
        [bound] = [part.version for part in requirement.specifier if part.operator == ">="]
        assert Version(pinned[canonicalize_name(requirement.name)]) == Version(bound), requirement


def test_every_dependency_has_its_reason_written_down() -> None:
    decision = read("docs/decisions/0001-dependencies.md").lower()
    project = tomllib.loads(read("pyproject.toml"))["project"]
    texts = [
        *project["dependencies"],
        *project["optional-dependencies"]["server"],
        *project["optional-dependencies"]["agents"],
    ]
    missing = [name for name in (Requirement(text).name for text in texts) if f"`{name.lower()}`" not in decision]
    assert missing == []


def test_meshagent_is_a_namespace_that_others_may_install_into() -> None:
    assert not (ROOT / "src" / "meshagent" / "__init__.py").exists()
    assert (ROOT / "src" / "meshagent" / "api" / "py.typed").exists()


@pytest.mark.parametrize("module", ["meshagent.api", "meshagent.cli.app"])
def test_the_sdk_and_the_command_line_start_without_the_servers_parts(module: str) -> None:
    program = f"import sys, {module}; print(*sorted(name for name in {SERVER_PARTS!r} if name in sys.modules))"
    completed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert completed.stdout.split() == []


def test_the_readmes_program_is_the_example() -> None:
    block = re.search(r"```python\n(.*?)```", read("README.md"), re.DOTALL)
    assert block is not None
    example = read("examples/first_program.py").partition('"""\n\n')[2]
    assert "\n".join(filter(None, block[1].splitlines())) == "\n".join(filter(None, example.splitlines()))


def test_the_readmes_links_lead_somewhere() -> None:
    for page in ("README.md", "CONTRIBUTING.md", "docs/README.md", "docs/decisions/0001-dependencies.md"):
        for target in re.findall(r"\]\(([^)#]+)", read(page)):
            if "://" not in target:
                assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"


def test_the_two_commands_of_the_readme_exist() -> None:
    commands = re.search(r"```sh\n(.*?)```", read("README.md"), re.DOTALL)
    assert commands is not None
    targets = [line.split("#")[0].split()[1] for line in commands[1].splitlines()]
    assert targets == ["run", "test"]
    assert all(f"\n{target}:" in read("Makefile") for target in targets)
    steps = re.findall(r"^(?:exec )?make (\S+)$", read(".ci/run"), re.MULTILINE)
    assert steps == ["test", "test-lowest", "test-py313"]
