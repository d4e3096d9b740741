"""The toolkits that every room has: `storage` and `agents`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from meshagent.api import jsontext
from meshagent.api.contracts.agents import (
    ASKED,
    AskAnswer,
    InvokeToolRequest,
    ListToolkitsRequest,
    RegisterAgentRequest,
)
from meshagent.api.contracts.content import FileBody, JsonBody, LinkBody, TextBody
from meshagent.api.errors import (
    AlreadyExistsError,
    InvalidRequestError,
    LimitExceededError,
    NotFoundError,
    PermissionDeniedError,
)
from meshagent.api.tokens.grants import AgentsGrant, StorageGrant, StoragePathGrant
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.config import OutgoingSettings
from meshagent.server.dispatch.flat.host_link import FlatHostLink
from meshagent.server.outgoing.client import HttpStatusError, OutgoingClient
from meshagent.server.services.agents.builtin_storage import StorageToolkit
from meshagent.server.services.agents.ports import BuiltInToolkit
from meshagent.server.services.agents.service import AgentsService
from meshagent.server.services.agents.tool_calls import ToolCalls
from meshagent.server.services.room_files import RoomFiles
from meshagent.server.stores.memory_files import MemoryFileStore
from tests.support.fake_room import FakeRoom, fake_participant
from tests.support.webhook_receiver import webhook_receiver
from tests.support.websocket_peer import eventually


class Storage:
    """The toolkit over files in memory."""

    def __init__(self, http: OutgoingClient) -> None:
        self.room = FakeRoom()
        self.files = RoomFiles(self.room, MemoryFileStore(), max_file_bytes=100)
        self.toolkit: BuiltInToolkit = StorageToolkit(self.files, lambda path: f"http://host/{path}?signed", http)
        self.alice = fake_participant()

    async def invoke(self, tool: str, *, scope: ApiScope | None = None, **arguments: Any) -> Any:
        caller = self.alice if scope is None else fake_participant(scope=scope)
        return await self.toolkit.invoke(caller, tool, arguments, b"")


@pytest.fixture
async def storage() -> AsyncIterator[Storage]:
    async with OutgoingClient(OutgoingSettings()) as http:
        yield Storage(http)


async def test_files_are_written_listed_and_read(storage: Storage) -> None:
    written = await storage.invoke("write_file", path="/notes//a.md", text="Grüße", overwrite=False)
    assert written == TextBody(text="wrote 7 bytes to notes/a.md")
    listed = await storage.invoke("list_files_in_room", path="notes")
    assert [(entry["name"], entry["is_folder"], entry["size"]) for entry in listed.json["files"]] == [
        ("a.md", False, 7)
    ]
    assert [entry["name"] for entry in (await storage.invoke("list_files_in_room")).json["files"]] == ["notes"]
    assert await storage.invoke("read_file", path="notes/a.md") == TextBody(text="Grüße")
    (event,) = storage.room.take_events()
    assert event.header == {"path": "notes/a.md", "participant_id": storage.alice.id}


async def test_what_is_no_text_comes_as_a_file(storage: Storage) -> None:
    await storage.files.write_file("a.png", b"\x89PNG")
    await storage.files.write_file("bad.txt", b"\xff")
    assert await storage.invoke("read_file", path="a.png") == FileBody(
        data=b"\x89PNG", name="a.png", mime_type="image/png"
    )
    assert isinstance(await storage.invoke("read_file", path="bad.txt"), FileBody)


async def test_files_are_replaced_only_on_demand(storage: Storage) -> None:
    await storage.invoke("write_file", path="a.txt", text="1")
    with pytest.raises(AlreadyExistsError):
        await storage.invoke("write_file", path="a.txt", text="2")
    await storage.invoke("write_file", path="a.txt", text="3", overwrite=True)
    assert await storage.invoke("read_file", path="a.txt") == TextBody(text="3")


async def test_download_urls(storage: Storage) -> None:
    await storage.files.write_file("a/b.txt", b"")
    url = await storage.invoke("get_file_download_url", path="a/b.txt")
    assert url == LinkBody(name="b.txt", url="http://host/a/b.txt?signed")
    for missing in ("a", "c.txt"):
        with pytest.raises(NotFoundError):
            await storage.invoke("get_file_download_url", path=missing)


async def test_files_are_saved_from_the_web(storage: Storage) -> None:
    async with webhook_receiver() as site:
        assert "saved 0 bytes to empty.txt" in str(
            await storage.invoke("save_file_from_url", url=site.url("/files/empty.txt?x=1"))
        )
        site.script = [404]
        with pytest.raises(HttpStatusError, match="404"):
            await storage.invoke("save_file_from_url", url=site.url("/files/b"), path="b", overwrite=True)
        assert await storage.files.stat("b") is None
        with pytest.raises(InvalidRequestError, match="must name a file"):
            await storage.invoke("save_file_from_url", url=site.url("/"))


async def test_what_is_too_large_is_not_written(storage: Storage) -> None:
    with pytest.raises(LimitExceededError):
        await storage.invoke("write_file", path="a.txt", text="x" * 101)
    assert await storage.files.stat("a.txt") is None


async def test_each_tool_needs_the_grant_of_its_operation(storage: Storage) -> None:
    await storage.files.write_file("open/a.txt", b"a")
    await storage.files.write_file("closed/a.txt", b"a")
    scope = ApiScope(storage=StorageGrant(paths=[StoragePathGrant(path="open", read_only=True)]))
    assert await storage.invoke("read_file", scope=scope, path="open/a.txt") == TextBody(text="a")
    for tool, arguments in [
        ("write_file", {"path": "open/b.txt", "text": ""}),
        ("save_file_from_url", {"path": "open/b.txt", "url": "http://127.0.0.1:1/"}),
        ("read_file", {"path": "closed/a.txt"}),
        ("read_file", {"path": "./closed//a.txt"}),
        ("list_files_in_room", {"path": "closed"}),
        ("get_file_download_url", {"path": "closed/a.txt"}),
    ]:
        with pytest.raises(PermissionDeniedError):
            await storage.invoke(tool, scope=scope, **arguments)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("read_file", {}),
        ("read_file", {"path": 5}),
        ("read_file", {"path": ""}),
        ("read_file", {"path": "../x"}),
        ("write_file", {"path": "a", "text": None}),
        ("write_file", {"path": "a", "text": "", "overwrite": "yes"}),
        ("save_file_from_url", {"url": "http://[::1", "path": "a"}),
    ],
)
async def test_wrong_arguments_are_refused(storage: Storage, tool: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        await storage.invoke(tool, **arguments)


async def test_unknown_tools_and_odd_arguments(storage: Storage) -> None:
    with pytest.raises(NotFoundError):
        await storage.invoke("delete_everything")
    with pytest.raises(InvalidRequestError, match="object"):
        await storage.toolkit.invoke(storage.alice, "read_file", ["a"], b"")


def test_schemas_suit_language_models() -> None:
    toolkit = StorageToolkit(None, str, None)  # type: ignore[arg-type]  # describing needs neither files nor web
    for tool in toolkit.tools().values():
        schema = tool.input_schema
        assert schema is not None
        assert schema["required"] == list(schema["properties"])
        assert schema["additionalProperties"] is False
        assert tool.description


class NobodyComes:
    """A call_router that is never asked."""

    async def call(self, caller: object, name: str, url: str, arguments: Any) -> None:
        raise AssertionError("nobody was to be called")


class Agents:
    """The agents service with its built-in toolkit."""

    def __init__(self) -> None:
        self.room = FakeRoom()
        self.service = AgentsService(self.room, ToolCalls(self.room), NobodyComes(), {}, FlatHostLink(self.room))
        self.alice = self.room.join(fake_participant("alice"))
        self.host = self.room.join(fake_participant("host", role="agent"))

    def invoke(self, tool: str, arguments: Any, caller: Any = None) -> Any:
        request = InvokeToolRequest(toolkit="agents", tool=tool, arguments=jsontext.raw(arguments))
        return self.service.invoke_tool(caller or self.alice, request, b"")


async def test_registered_agents_are_tools() -> None:
    agents = Agents()
    everything = ListToolkitsRequest()
    assert agents.service.list_toolkits(agents.alice, everything).tools == {}  # without agents there is no toolkit
    schema = {"type": "object", "properties": {"a": {"type": "number"}}}
    first = RegisterAgentRequest(name="adder", title="Adder", description="adds", input_schema=schema)
    agents.service.register_agent(agents.host, first)
    agents.service.register_agent(agents.host, RegisterAgentRequest(name="adder", description="second"))
    agents.service.register_agent(agents.host, RegisterAgentRequest(name="plain"))
    tools = agents.service.list_toolkits(agents.alice, everything).tools["agents"]["tools"]
    assert {name: (tool["description"], tool["input_schema"]["properties"]) for name, tool in tools.items()} == {
        "adder": ("adds", {"a": {"type": "number"}}),
        "plain": ("", {}),
    }
    agents.service.left(agents.host)
    assert agents.service.list_toolkits(agents.alice, everything).tools == {}


async def test_invoking_such_a_tool_asks_the_agent() -> None:
    agents = Agents()
    agents.service.register_agent(agents.host, RegisterAgentRequest(name="adder"))
    result = asyncio.ensure_future(agents.invoke("adder", {"a": 1}))
    await eventually(lambda: bool(agents.room.events))
    (asked,) = agents.room.take_events()
    assert (asked.message_type, asked.header["arguments"], asked.to) == (ASKED.name, {"a": 1}, (agents.host.id,))
    answer = AskAnswer(task_id=asked.header["task_id"], answer=jsontext.raw({"sum": 1}))
    agents.service.ask_answered(agents.host, answer)
    assert await result == JsonBody(json={"sum": 1})


async def test_asking_by_tool_needs_the_grant_to_ask() -> None:
    agents = Agents()
    agents.service.register_agent(agents.host, RegisterAgentRequest(name="adder"))
    caller = fake_participant(scope=ApiScope(agents=AgentsGrant(use_agents=False)))
    with pytest.raises(PermissionDeniedError, match="agents"):
        await agents.invoke("adder", {}, caller)
    with pytest.raises(NotFoundError):
        await agents.invoke("nobody", {})
