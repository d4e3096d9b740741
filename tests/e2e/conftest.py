"""A real server on a free port, for each test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshagent.testing import RoomServer, room_server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RoomServer]:
    async with room_server(data_dir=tmp_path / "data", idle_grace=2.0) as running:
        yield running
