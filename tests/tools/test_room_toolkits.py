"""The toolkits for rooms, with a real server: what they do is in the room."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer as WebSite

from meshagent.api import RoomClient, WebSocketClientProtocol
from meshagent.api.contracts.content import FileBody, JsonBody, LinkBody, TextBody
from meshagent.api.documents.builtin import builtin_schema
from meshagent.api.documents.schema import MeshSchema
from meshagent.api.errors import (
    AlreadyExistsError,
    InvalidRequestError,
    LimitExceededError,
    NotFoundError,
    PermissionDeniedError,
    RoomException,
)
from meshagent.tools import (
    DatabaseToolkit,
    DocumentAuthoringToolkit,
    DocumentTypeAuthoringToolkit,
    Fetcher,
    QueueToolkit,
    RemoteToolkit,
    RoomToolkit,
    StorageToolkit,
    ToolContext,
    Toolkit,
    tool,
)
from tests.support.server import TestServer, serve


@asynccontextmanager
async def joined(server: TestServer, name: str = "alice", role: str | None = None) -> AsyncIterator[RoomClient]:
    protocol = WebSocketClientProtocol(url=server.room_url(), token=server.token(name, role=role))
    async with RoomClient(protocol=protocol) as room:
        yield room


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serve(tmp_path / "data", idle_grace=2.0) as running:
        yield running


@pytest.fixture
async def room(server: TestServer) -> AsyncIterator[RoomClient]:
    async with joined(server) as room:
        yield room


class Caller:
    """Calls tools of a toolkit, and unwraps JSON and text."""

    def __init__(self, room: RoomClient, toolkit: Toolkit) -> None:
        self._context = ToolContext(room, room.local_participant)
        self._toolkit = toolkit

    async def __call__(self, name: str, /, **arguments: Any) -> Any:
        answer = await self._toolkit.execute(context=self._context, name=name, arguments=arguments)
        match answer:
            case JsonBody():
                return answer.json
            case TextBody():
                return answer.text
        return answer


async def test_storage(room: RoomClient) -> None:
    call = Caller(room, StorageToolkit(max_read_bytes=10))
    await call("write_file", path="notes/a.txt", text="hello")
    with pytest.raises(AlreadyExistsError):
        await call("write_file", path="notes/a.txt", text="again")
    assert [entry["name"] for entry in (await call("list_files_in_room", path="notes"))["files"]] == ["a.txt"]
    file = await call("read_file", path="notes/a.txt")
    assert isinstance(file, FileBody)
    assert file.data == b"hello"
    link = await call("get_file_download_url", path="notes/a.txt")
    assert isinstance(link, LinkBody)
    assert link.name == "a.txt"
    await call("write_file", path="notes/a.txt", text="x" * 11, overwrite=True)
    with pytest.raises(LimitExceededError):
        await call("read_file", path="notes/a.txt")
    with pytest.raises(NotFoundError):
        await call("read_file", path="notes")


async def test_storage_saves_from_the_web(room: RoomClient) -> None:
    async def page(request: web.Request) -> web.Response:
        return web.Response(body=b"\x00\x01", content_type="image/png")

    app = web.Application()
    app.add_routes([web.get("/a.png", page)])
    async with WebSite(app) as site:
        url = str(site.make_url("/a.png"))
        fetcher = Fetcher(allows=lambda address: address == ip_address("127.0.0.1"))
        said = await Caller(room, StorageToolkit(fetcher=fetcher))("save_file_from_url", url=url, path="a.png")
        assert said == "wrote a.png, 2 bytes of image/png"
        with pytest.raises(PermissionDeniedError):
            await Caller(room, StorageToolkit())("save_file_from_url", url=url, path="b.png")
    assert (await room.storage.download("a.png")).data == b"\x00\x01"
    assert not await room.storage.exists("b.png")


def test_a_read_only_storage_writes_nothing() -> None:
    names = [entry.name for entry in StorageToolkit(read_only=True).tools]
    assert names == ["list_files_in_room", "read_file", "get_file_download_url"]


def schema_of(name: str) -> MeshSchema:
    schema = builtin_schema(name)
    assert schema is not None
    return schema


async def test_documents(server: TestServer, room: RoomClient) -> None:
    call = Caller(room, DocumentAuthoringToolkit())
    insert = Caller(room, DocumentTypeAuthoringToolkit(schema=schema_of("document"), document_type="document"))
    path = "report.document"
    assert list(await call("open_document", path=path)) == ["document"]
    heading = await insert(
        "document_insert_heading", path=path, parent_id=None, after_id=None, attributes={"text": "Title"}
    )
    body = await insert("document_insert_body", path=path, parent_id=None, after_id=None, attributes={"text": "end"})
    await insert(
        "document_insert_body", path=path, parent_id=None, after_id=heading["$id"], attributes={"text": "begin"}
    )
    await call("set_document_element_attribute", path=path, element_id=body["$id"], name="text", value="the end")
    async with joined(server, "bob") as bob:
        document = await bob.sync.open(path)
        assert document.root.to_json()["document"]["content"] == [
            {"heading": {"text": "Title"}},
            {"body": {"text": "begin"}},
            {"body": {"text": "the end"}},
        ]
        await bob.sync.close(path)
    await call("remove_document_element", path=path, element_id=heading["$id"])
    assert path in room.sync.get_open_documents()
    await call("close_document", path=path)
    assert path not in room.sync.get_open_documents()
    content = await call("get_document", path=path)
    assert len(content["document"]["content"]) == 2
    assert await call("close_document", path=path) == f"{path} is not open"
    with pytest.raises(NotFoundError):
        await call("remove_document_element", path=path, element_id="nothing")
    with pytest.raises(NotFoundError):
        await call("get_document", path="missing.document")


async def test_elements_go_only_where_the_schema_has_a_place_for_them(room: RoomClient) -> None:
    toolkit = DocumentTypeAuthoringToolkit(schema=schema_of("thread"), document_type="thread")
    names = [entry.name for entry in toolkit.tools]
    assert "thread_insert_message" in names
    assert "thread_insert_members" not in names  # the root has its members and messages from the start
    with pytest.raises(RoomException):
        await Caller(room, toolkit)(
            "thread_insert_message", path="a.thread", parent_id=None, after_id=None, attributes={"text": "x"}
        )
    with pytest.raises(InvalidRequestError):
        await Caller(room, toolkit)(
            "thread_insert_message", path="a.thread", parent_id=None, after_id=None, attributes={"color": "red"}
        )


async def test_queues(room: RoomClient) -> None:
    call = Caller(room, QueueToolkit(queues=["jobs"]))
    await call("send_to_queue", queue="jobs", message={"n": 1})
    await room.queues.send("private", {"n": 2})
    assert await call("list_queues") == {"jobs": 1}
    assert await call("receive_from_queue", queue="jobs") == {"message": {"n": 1}}
    assert await call("receive_from_queue", queue="jobs") == {"message": None}
    with pytest.raises(PermissionDeniedError):
        await call("receive_from_queue", queue="private")


async def test_leased_messages(room: RoomClient) -> None:
    call = Caller(room, QueueToolkit(queues=["jobs"]))
    await call("send_to_queue", queue="jobs", message={"n": 1}, delay=0)
    first = await call("lease_from_queue", queue="jobs")
    assert (first["message"], first["attempts"]) == ({"n": 1}, 1)
    assert await call("lease_from_queue", queue="jobs", seconds=60) == {"message": None}
    await call("extend_lease", queue="jobs", lease=first["lease"], seconds=600)
    await call("return_message", queue="jobs", lease=first["lease"])
    second = await call("lease_from_queue", queue="jobs")
    assert second["attempts"] == 2
    await call("finish_message", queue="jobs", lease=second["lease"])
    with pytest.raises(NotFoundError):
        await call("finish_message", queue="jobs", lease=second["lease"])
    with pytest.raises(PermissionDeniedError):
        await call("lease_from_queue", queue="private")
    for name, more in (("finish_message", {}), ("return_message", {}), ("extend_lease", {"seconds": 1})):
        with pytest.raises(PermissionDeniedError):
            await call(name, queue="private", lease="1.0", **more)


async def test_database(room: RoomClient) -> None:
    call = Caller(room, DatabaseToolkit(tables=["people"]))
    await call("create_table", table="people", columns={"name": "text", "age": "int"})
    await call("insert_rows", table="people", rows=[{"name": "Ann", "age": 40}, {"name": "Bob", "age": 20}])
    await call("update_rows", table="people", where="name = 'Bob'", values={"age": 21})
    rows = (await call("search_table", table="people", where="age < 30"))["rows"]
    assert rows == [{"name": "Bob", "age": 21}]
    await call("delete_rows", table="people", where="true")
    assert (await call("search_table", table="people"))["rows"] == []
    assert await call("list_tables") == {"result": ["people"]}
    with pytest.raises(PermissionDeniedError):
        await call("insert_rows", table="others", rows=[{}])
    with pytest.raises(InvalidRequestError):
        await call("search_table", table="people", limit=100_000)


@tool
async def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


@tool
async def ask_user(context: ToolContext, question: str) -> str:
    return f"{question}? asked by {context.caller.get_attribute('name')} for {context.beneficiary.id}"


async def test_toolkits_are_called_through_the_room(server: TestServer, room: RoomClient) -> None:
    async with (
        joined(server, "host", role="agent") as host,
        RemoteToolkit("math", [add], "Math").hosted(host),
        RemoteToolkit("ui", [ask_user], public=False).hosted(room),
    ):
        answer = await room.agents.invoke_tool(toolkit="math", tool="add", arguments={"a": 1, "b": 2})
        assert answer == JsonBody(json={"result": 3})
        with pytest.raises(RoomException, match="arguments of add"):
            await room.agents.invoke_tool(toolkit="math", tool="add", arguments={"a": "x", "b": 2})
        # An agent finds a person's private toolkit, and uses it on that person's behalf.
        await host.messaging.enable()
        await room.messaging.enable()
        person = room.local_participant
        assert await RoomToolkit.find(host, "ui") is None
        ui = await RoomToolkit.find(host, "ui", participant_id=person.id)
        assert ui is not None
        context = ToolContext(host, host.local_participant, on_behalf_of=person)
        said = await ui.execute(context=context, name="ask_user", arguments={"question": "really"})
        assert said == TextBody(text=f"really? asked by host for {person.id}")
    assert await RoomToolkit.find(room, "math") is None
