"""Fixtures for pytest, there as soon as the package is installed; nothing is imported or started before one is used.

    async def test_greeting(meshagent_server):
        async with meshagent_server.join("alice") as room:
            ...

Asynchronous fixtures need `pytest-asyncio`. Settings are changed by a fixture of one's own that is named
`meshagent_server_settings`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

try:
    import pytest_asyncio
except ModuleNotFoundError:
    pytest_asyncio = None  # type: ignore[assignment]  # then the fixtures say that they need it

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient
    from meshagent.testing.server import RoomServer

__all__ = ["meshagent_environment", "meshagent_room", "meshagent_server", "meshagent_server_settings"]


def _async_fixture(function: Callable[..., AsyncIterator[Any]]) -> Any:
    if pytest_asyncio is not None:
        return pytest_asyncio.fixture(function)

    def missing() -> None:
        pytest.fail(
            f"the fixture {function.__name__!r} needs pytest-asyncio: pip install pytest-asyncio", pytrace=False
        )

    return pytest.fixture(missing, name=function.__name__)


@pytest.fixture
def meshagent_server_settings() -> Mapping[str, Any]:
    """Arguments of `meshagent.testing.room_server`; a fixture of the same name in your tests replaces it."""
    return {}


@_async_fixture
async def meshagent_server(meshagent_server_settings: Mapping[str, Any]) -> AsyncIterator[RoomServer]:
    """A real server with temporary data, for one test: a `meshagent.testing.RoomServer`."""
    from meshagent.testing.server import room_server

    async with room_server(**meshagent_server_settings) as server:
        yield server


@_async_fixture
async def meshagent_room(meshagent_server: RoomServer) -> AsyncIterator[RoomClient]:
    """A `RoomClient` that is in the room `room` of that server, with the name `tester`."""
    async with meshagent_server.join("tester") as room:
        yield room


@pytest.fixture
def meshagent_environment(meshagent_server: RoomServer, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """Environment variables that tell the code under test, and programs that it starts, of that server."""
    for name, value in meshagent_server.environment.items():
        monkeypatch.setenv(name, value)
    return meshagent_server.environment
