"""What agents require comes into the room before they work."""

from __future__ import annotations

import pytest

from meshagent.agents import SingleRoomAgent, install_requirements
from meshagent.api import (
    MeshSchema,
    RequiredSchema,
    RequiredToolkit,
    RoomClient,
    SchemaRegistration,
    SchemaRegistry,
    ServiceHost,
)
from meshagent.api.documents.builtin import builtin_schema
from meshagent.api.errors import InvalidStateError, NotFoundError, RequestTimeoutError
from meshagent.tools import RemoteToolkit, tool
from tests.support.chatting import joined
from tests.support.server import TestServer


@tool
def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


class MathToolkit(RemoteToolkit):
    def __init__(self) -> None:
        super().__init__("math", [add])


def some_schema() -> MeshSchema:
    schema = builtin_schema("gallery")
    assert schema is not None
    return schema


class Schemas(SchemaRegistry):
    def __init__(self) -> None:
        super().__init__(schemas=[SchemaRegistration(name="album", schema=some_schema())])


class Mute:
    """A service that comes and brings nothing."""

    async def start(self, *, room: RoomClient) -> None: ...

    async def stop(self) -> None: ...


async def test_what_is_there_is_enough(server: TestServer) -> None:
    async with joined(server, "host", role="agent") as room, MathToolkit().hosted(room):
        await install_requirements(room, [RequiredToolkit(name="math", tools=["add"])])


async def test_built_in_schemas_and_toolkits_are_brought(server: TestServer) -> None:
    async with joined(server, "host", role="agent") as room:
        await install_requirements(room, [RequiredSchema(name="thread"), RequiredToolkit(name="storage")])
        assert await room.storage.exists(path=".schemas/thread.json")


async def test_services_are_called_in(server: TestServer) -> None:
    host = ServiceHost(host="127.0.0.1", port=0)
    host.add_path(path="/math", cls=MathToolkit)
    host.add_path(path="/schemas", cls=Schemas)
    async with host, joined(server, "host", role="agent") as room:
        url = f"http://127.0.0.1:{host.port}"
        await install_requirements(
            room,
            [RequiredToolkit(name="math", url=f"{url}/math"), RequiredSchema(name="album", url=f"{url}/schemas")],
        )
        assert "math" in [toolkit.name for toolkit in await room.agents.list_toolkits()]
        assert await room.storage.exists(path=".schemas/album.json")


async def test_what_nobody_knows_is_an_error(server: TestServer) -> None:
    async with joined(server, "host", role="agent") as room:
        with pytest.raises(NotFoundError, match="unheard-of"):
            await install_requirements(room, [RequiredToolkit(name="unheard-of")])
        with pytest.raises(NotFoundError, match="unheard-of"):
            await install_requirements(room, [RequiredSchema(name="unheard-of")])


async def test_a_service_that_brings_nothing_is_not_waited_for_for_ever(server: TestServer) -> None:
    host = ServiceHost(host="127.0.0.1", port=0)
    host.add_path(path="/mute", cls=Mute)
    async with host, joined(server, "host", role="agent") as room:
        requirement = RequiredToolkit(name="math", url=f"http://127.0.0.1:{host.port}/mute")
        with pytest.raises(RequestTimeoutError, match="math"):
            await install_requirements(room, [requirement], timeout=0.1)


async def test_an_agent_starts_once_and_only_with_what_it_requires(server: TestServer) -> None:
    async with joined(server, "host", role="agent") as room:
        demanding = SingleRoomAgent(name="demanding", requires=[RequiredToolkit(name="unheard-of")])
        with pytest.raises(NotFoundError):
            await demanding.start(room=room)
        assert not demanding.is_started
        modest = SingleRoomAgent()
        assert modest.name == "SingleRoomAgent"
        with pytest.raises(InvalidStateError):
            _ = modest.room
        await modest.start(room=room)
        with pytest.raises(InvalidStateError):
            await modest.start(room=room)
        await modest.stop()
