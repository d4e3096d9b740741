"""Where services are, as the docstring of the package says, and that each module is known to a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from meshagent.server import services, stores

ROOT = Path(services.__path__[0])
SERVICES = {
    name: path.relative_to(ROOT)
    for path in ROOT.rglob("*.py")
    for name in re.findall(r"^class (\w+Service)\b", path.read_text(), re.MULTILINE)
}


def snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def test_there_are_services() -> None:
    assert len(SERVICES) >= 10


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_in_the_module_of_its_name(name: str) -> None:
    base = snake_case(name.removesuffix("Service"))
    assert SERVICES[name] in (Path(f"{base}.py"), Path(base, "service.py"))


def _modules() -> list[str]:
    """The modules of services and stores, by their dotted names."""
    found = []
    for package in (services, stores):
        root = Path(package.__path__[0])
        for path in root.rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            if parts[-1] != "__init__":
                found.append(".".join((package.__name__, *parts)))
    return sorted(found)


_SERVER_TESTS = Path(__file__).parents[1]
_SOURCES = [*_SERVER_TESTS.rglob("test_*.py"), *(_SERVER_TESTS.parent / "support").glob("*.py")]
TESTS = "\n".join(path.read_text() for path in _SOURCES)


@pytest.mark.parametrize("module", _modules())
def test_a_test_imports_the_module_or_its_own_package(module: str) -> None:
    """The parts of a package such as `stores.tables` are tested through the ones that others use."""
    package = module.rpartition(".")[0]
    is_part = package not in (services.__name__, stores.__name__)
    wanted = rf"{re.escape(package)}[. ]" if is_part else rf"{re.escape(module)}\b"
    parent, _, name = module.rpartition(".")
    assert re.search(rf"from {wanted}|from {re.escape(parent)} import .*\b{name}\b", TESTS)
