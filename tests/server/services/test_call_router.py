"""Calling services into a room, and what is answered inside (protocol 9.10)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from meshagent.api.documents.builtin import builtin_schema, builtin_schema_names
from meshagent.api.errors import InvalidRequestError, NotFoundError, UnavailableError
from meshagent.api.tokens.grants import AgentsGrant
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.config import OutgoingSettings
from meshagent.server.outgoing.client import HttpStatusError, OutgoingClient
from meshagent.server.services.agents.builtin_targets import BuiltInTarget, BuiltInTargets
from meshagent.server.services.agents.call_router import RoomCallRouter
from meshagent.server.services.room_files import RoomFiles
from meshagent.server.stores.memory_files import MemoryFileStore
from meshagent.server.webhooks.room_calls import RoomCallSender
from tests.support.fake_room import FakeRoom, fake_participant
from tests.support.webhook_receiver import FakeTokens, WebhookReceiver, webhook_receiver

TARGETS = BuiltInTargets(lambda: ["http://localhost:9090", "https://rooms.example.com/mesh"], ("storage", "agents"))


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://localhost:9090/schemas/thread", "schemas thread"),
        ("http://127.0.0.1:9090/schemas/thread", "schemas thread"),
        ("http://[::1]:9090/schemas/no-such-schema", "schemas no-such-schema"),
        ("https://rooms.example.com/mesh/toolkits/storage", "toolkits storage"),
        ("https://rooms.example.com:443/mesh/toolkits/nothing", "toolkits nothing"),
        ("http://localhost:8080/schemas/thread", "schemas thread"),
        ("http://localhost:8080/schemas/thread/", "schemas thread"),
        ("http://localhost:8080/toolkits/storage", "toolkits storage"),
        ("http://localhost:8080/toolkits/my-own", None),
        ("https://api.meshagent.com/schemas/document", "schemas document"),
        ("https://api.meshagent.com/toolkits/unknown", "toolkits unknown"),
        ("https://anywhere.example/schemas/%74hread", "schemas thread"),
        ("https://anywhere.example/schemas/unknown", None),
        ("https://anywhere.example/svc/schemas/thread", None),
        ("http://localhost:9090/chat", None),
        ("http://localhost:9090/schemas/", None),
        ("http://localhost:9091/schemas/unknown", None),
        ("https://rooms.example.com/schemas/unknown", None),
        ("http://[::1", None),
        ("nonsense", None),
    ],
)
def test_built_in_targets_are_recognised(url: str, target: str | None) -> None:
    found = TARGETS.find(url)
    assert (None if found is None else f"{found.kind} {found.name}") == target


class House:
    """A room whose calls go out for real."""

    def __init__(self, http: OutgoingClient) -> None:
        self.room = FakeRoom()
        self.files = RoomFiles(self.room, MemoryFileStore(), max_file_bytes=1_000_000)
        self.tokens = FakeTokens()
        self.call_router = RoomCallRouter(self.room, self.files, TARGETS, RoomCallSender(http, self.tokens, "secret"))
        self.alice = fake_participant()


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with OutgoingClient(OutgoingSettings()) as http:
        yield House(http)


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with webhook_receiver() as receiver:
        yield receiver


async def test_schemas_are_installed_inside_and_again_without_harm(house: House) -> None:
    for name in builtin_schema_names():
        for _ in range(2):
            await house.call_router.call(house.alice, "schemas", f"http://localhost:8080/schemas/{name}", {})
        schema = builtin_schema(name)
        assert schema is not None
        assert json.loads(await house.files.read_file(f".schemas/{name}.json") or b"") == schema.to_json()
    assert house.tokens.issued == 0
    assert len(house.room.take_events()) == len(builtin_schema_names())  # told once of each file


async def test_a_rooms_own_schema_stays(house: House) -> None:
    await house.files.write_file(".schemas/thread.json", b"{}")
    await house.call_router.call(house.alice, "schemas", "http://localhost:9090/schemas/thread", {})
    assert await house.files.read_file(".schemas/thread.json") == b"{}"


async def test_toolkits_are_there_already(house: House) -> None:
    await house.call_router.call(house.alice, "tools", "https://api.meshagent.com/toolkits/storage", {})
    assert house.tokens.issued == 0


async def test_unknown_built_in_names_are_errors(house: House) -> None:
    for url in ("http://localhost:9090/schemas/nothing", "https://api.meshagent.com/toolkits/nothing"):
        with pytest.raises(NotFoundError, match=r"no built-in (schema|toolkit) 'nothing'"):
            await house.call_router.call(house.alice, "x", url, {})


async def test_names_cannot_leave_the_folder_of_schemas(house: House) -> None:
    for name in ("../x", "..", ""):
        with pytest.raises(NotFoundError):
            await TARGETS.install(BuiltInTarget("schemas", name), house.files)


@pytest.mark.parametrize("arguments", [{"n": 1}, "typed", None])
async def test_services_are_called_with_a_fresh_token(
    house: House, receiver: WebhookReceiver, arguments: object
) -> None:
    await house.call_router.call(house.alice, "bot", receiver.url("/chat"), arguments)
    assert receiver.events == [
        {
            "event": "room.call",
            "data": {
                "room_name": "room",
                "room_url": "ws://localhost/rooms/room",
                "token": "token 1 of bot (agent) for project/room",
                "arguments": {} if arguments is None else arguments,
            },
        }
    ]
    assert house.tokens.scopes == [None]  # alice may do everything, and so may the bot


async def test_a_service_may_do_no_more_than_who_called_it(house: House, receiver: WebhookReceiver) -> None:
    scope = ApiScope(agents=AgentsGrant())
    await house.call_router.call(fake_participant(scope=scope), "bot", receiver.url(), {})
    await house.call_router.call(fake_participant(scope=ApiScope.full()), "bot", receiver.url(), {})
    assert house.tokens.scopes == [scope, None]  # administration is not passed on


async def test_failures_name_url_and_status(house: House, receiver: WebhookReceiver, unused_tcp_port: int) -> None:
    receiver.script = [503]
    with pytest.raises(HttpStatusError, match=f"{receiver.url()} answered with status 503"):
        await house.call_router.call(house.alice, "bot", receiver.url(), {})
    assert len(receiver.posts) == 1  # its caller hears of it, and may try again
    url = f"http://127.0.0.1:{unused_tcp_port}/chat"
    with pytest.raises(UnavailableError, match=url):
        await house.call_router.call(house.alice, "bot", url, {})
    with pytest.raises(InvalidRequestError, match="chat"):
        await house.call_router.call(house.alice, "bot", "/chat", {})
