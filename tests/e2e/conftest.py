"""A real server on a free port, for each test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshagent.testing import RoomServer, room_server
from tests.support.engines import load_engines


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RoomServer]:
    async with room_server(data_dir=tmp_path / "data", idle_grace=2.0) as running:
        yield running


@pytest.fixture(scope="session")
def loaded_engines(tmp_path_factory: pytest.TempPathFactory) -> None:
    load_engines(tmp_path_factory.mktemp("engines"))
