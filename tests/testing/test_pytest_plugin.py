"""The pytest plugin, used as somebody else's project uses it, and installed where it is not used."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.support.other_project import run_pytest

ROOT = Path(__file__).parents[2]
PLUGIN = "meshagent.testing.pytest_plugin"

USES_FIXTURES = """
import os
import pytest

@pytest.fixture
def meshagent_server_settings():
    return {"project_id": "my-project"}

@pytest.mark.asyncio
async def test_room(meshagent_server, meshagent_room):
    assert meshagent_server.project_id == "my-project"
    assert meshagent_room.room_name == "room"
    async with meshagent_server.join("bob") as bob:
        await bob.queues.send(name="jobs", message={"n": 1})
    assert await meshagent_room.queues.receive(name="jobs") == {"n": 1}

@pytest.mark.asyncio
async def test_environment(meshagent_environment, meshagent_server):
    assert os.environ["MESHAGENT_API_URL"] == meshagent_server.url

def test_environment_is_as_before():
    assert "MESHAGENT_API_URL" not in os.environ
"""

USES_NOTHING = """
import sys

def test_nothing_was_loaded():
    assert [name for name in ("aiohttp", "pydantic", "meshagent.api", "meshagent.server") if name in sys.modules] == []
"""

USES_A_SERVER = "def test_server(meshagent_server): ..."


def test_fixtures(tmp_path: Path) -> None:
    assert "3 passed" in run_pytest(tmp_path, USES_FIXTURES, "pytest_asyncio.plugin", PLUGIN)


def test_it_costs_nothing_where_it_is_not_used(tmp_path: Path) -> None:
    assert "1 passed" in run_pytest(tmp_path, USES_NOTHING, PLUGIN)


def test_without_pytest_asyncio_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "pytest_asyncio.py").write_text("raise ModuleNotFoundError('no module', name='pytest_asyncio')")
    said = run_pytest(tmp_path, USES_A_SERVER, PLUGIN)
    assert "the fixture 'meshagent_server' needs pytest-asyncio" in said
    assert "1 error" in said


def test_the_distribution_registers_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"meshagent": PLUGIN}


@pytest.mark.parametrize("name", ["meshagent_server", "meshagent_room", "meshagent_environment"])
def test_fixtures_are_documented(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs" / "how-to" / "test-your-agents.md").read_text(encoding="utf-8")
