"""Where services are, as the docstring of the package says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from meshagent.server import services

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
