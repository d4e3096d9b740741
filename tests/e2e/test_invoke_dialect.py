"""The invoke dialect of today's clients, at wire level from the shapes of protocol 14."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

from meshagent.api.wire import envelope
from tests.support.documents import Copy
from tests.support.invoke_client import CLOSE, OPEN, Stream, invoke
from tests.support.server import TestServer
from tests.support.websocket_peer import eventually
from tests.support.wire_client import join


async def test_messages_travel_as_json_text_and_base64(server: TestServer) -> None:
    async with join(server, "alice") as alice, join(server, "bob") as bob:
        for client in (alice, bob):
            assert (await invoke(client, "messaging", "enable", {})).header == {"type": "empty"}
        send = {
            "to_participant_id": bob.participant_id,
            "type": "chat",
            "message_json": json.dumps({"text": "hi"}),
            "attachment_base64": base64.b64encode(b"\x00\xff").decode(),
        }
        assert (await invoke(alice, "messaging", "send", send)).header == {"type": "empty"}
        event = await bob.message("chat")
        assert event.header["message"] == {"text": "hi"}
        assert event.payload == b"\x00\xff"
        await alice.ok("messaging.broadcast", {"type": "flat", "message": {"from": "the old dialect"}})
        assert (await bob.message("flat")).header["message"] == {"from": "the old dialect"}
        absent = await invoke(alice, "messaging", "send", {**send, "to_participant_id": "nobody"})
        assert absent.header == {"type": "error", "text": "the participant was not found", "code": 1003}


async def test_storage_answers_have_no_undeclared_field(server: TestServer) -> None:
    async with join(server) as alice:
        up = await Stream.open(alice, "storage", "upload")
        await up.binary(kind="start", path="a/b.txt", overwrite=False, name="b.txt", mime_type="text/plain", size=6)
        await up.opened()
        for piece in (b"abc", b"def"):
            chunk, _ = await up.next()
            assert chunk["type"] == "binary"
            assert chunk["headers"]["kind"] == "pull"
            assert set(chunk["headers"]) <= {"kind", "chunk_size"}
            await up.binary(piece, kind="data")
        await up.next()
        await up.close()
        await up.closed()
        event = await alice.expect("storage.file.updated")
        assert event.header == {"path": "a/b.txt", "participant_id": alice.participant_id}

        stat = (await invoke(alice, "storage", "stat", {"path": "a/b.txt"})).header["json"]
        assert set(stat) == {"exists", "name", "is_folder", "size", "created_at", "updated_at"}
        assert (await invoke(alice, "storage", "stat", {"path": "none"})).header["json"] == {"exists": False}
        assert (await invoke(alice, "storage", "exists", {"path": "a"})).header["json"] == {"exists": True}
        (entry,) = (await invoke(alice, "storage", "list", {"path": "a"})).header["json"]["files"]
        assert entry["name"] == "b.txt"
        assert entry["size"] == 6
        url = (await invoke(alice, "storage", "download_url", {"path": "a/b.txt", "download": None})).header["json"]
        assert set(url) == {"url"}

        down = await Stream.open(alice, "storage", "download", "call-2")
        await down.binary(kind="start", path="a/b.txt", chunk_size=4)
        await down.opened()
        chunk, _ = await down.next()
        assert chunk["headers"] == {"kind": "start", "name": "b.txt", "mime_type": "text/plain", "size": 6}
        received = b""
        for _ in range(2):
            await down.binary(kind="pull")
            chunk, payload = await down.next()
            assert chunk["headers"] == {"kind": "data"}
            received += payload
        assert received == b"abcdef"
        await down.closed()

        move = {"source_path": "a/b.txt", "destination_path": "c.txt", "overwrite": False}
        assert (await invoke(alice, "storage", "move", move)).header["type"] != "error"
        moved = await alice.expect("storage.file.moved")
        assert set(moved.header) == {"source_path", "destination_path", "participant_id"}
        missing = await invoke(alice, "storage", "delete", {"path": "none", "recursive": None})
        assert missing.header["type"] == "error"


async def test_an_upload_that_ends_early_stores_nothing(server: TestServer) -> None:
    async with join(server, "alice") as alice:
        up = await Stream.open(alice, "storage", "upload")
        await up.binary(kind="start", path="a.txt", overwrite=True, size=100)
        await up.opened()
        await up.next()
        await up.binary(b"only this", kind="data")
        await up.next()
        await up.close()
        chunk, _ = await up.next()
        assert chunk["type"] == "error"
        await up.closed()
        async with join(server, "bob") as bob:
            lost = await Stream.open(bob, "storage", "upload")
            await lost.binary(kind="start", path="b.txt", overwrite=True, size=None)
            await lost.opened()
            await lost.next()
            await lost.binary(b"half", kind="data")
        await alice.settle()
        assert await alice.ok("storage.list", {"path": ""}) == {"files": []}


async def test_the_streams_of_somebody_who_leaves_end(server: TestServer) -> None:
    async with join(server, "alice"):
        async with join(server, "bob") as bob:
            logs = await Stream.open(bob, "developer", "logs", "call-1")
            await logs.opened()
            document = await Stream.open(bob, "sync", "open", "call-2")
            start: dict[str, Any] = {"path": "a.document", "create": True, "vector": None, "schema": {}}
            await document.binary(kind="start", **start, schema_path=None, initial_json=None)
            await document.opened()
            await document.next()
            assert open_streams()
        await eventually(lambda: not open_streams())
        [room] = server.started.rooms.directory.rooms
        async with room.services.documents.using("a.document") as opened:
            assert not opened.subscribers


def open_streams() -> list[str]:
    """Names of the tasks that serve streams of a room's own toolkits."""
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "room room: stream"]


async def test_one_document_two_generations(server: TestServer) -> None:
    async with join(server, "new") as new, join(server, "old") as old:
        _, state = await old.open_document("a.document")
        old_copy = Copy(state)
        stream = await Stream.open(new, "sync", "open")
        start: dict[str, Any] = {
            "path": "./a.document",
            "create": True,
            "vector": None,
            "schema": {},
            "schema_path": None,
        }
        await stream.binary(kind="start", **start, initial_json=None)
        await stream.opened()
        chunk, payload = await stream.next()
        assert set(chunk["headers"]) == {"kind", "path", "schema"}
        assert chunk["headers"]["kind"] == "state"
        assert chunk["headers"]["path"] == "a.document"
        new_copy = Copy(base64.b64decode(payload))
        update = new_copy.append("heading", **{"$id": "n", "text": "from the new one"})
        await stream.binary(base64.b64encode(update), kind="sync")
        old_copy.apply(await old.expect("room.sync"))
        update = old_copy.append("heading", **{"$id": "o", "text": "from the old one"})
        await old.ok("room.sync", {"path": "a.document"}, base64.b64encode(update))
        chunk, payload = await stream.next()
        assert chunk["headers"] == {"kind": "sync", "path": "a.document"}
        new_copy.doc.apply_update(base64.b64decode(payload))
        assert len(new_copy.tags) == len(old_copy.tags) == 2
        described = (await invoke(new, "sync", "describe", {"path": "a.document", "schema_path": None})).header["json"]
        assert len(described["document"]["content"]) == 2
        await stream.close()
        await stream.closed()


async def test_a_bad_update_fails_the_stream_and_not_its_acknowledgement(server: TestServer) -> None:
    async with join(server) as alice:
        stream = await Stream.open(alice, "sync", "open")
        await stream.binary(kind="start", path="a.document", create=True)
        await stream.next()
        await stream.binary(base64.b64encode(b"\xff" * 9), kind="sync")
        chunk, _ = await stream.next()
        assert chunk["type"] == "error"
        await stream.closed()
        await stream.binary(b"late", kind="sync")


async def test_queues_have_leases(server: TestServer) -> None:
    async with join(server) as alice:
        await invoke(alice, "queues", "send", {"name": "q", "message": 1, "deduplication_id": "a"})
        await invoke(alice, "queues", "send", {"name": "q", "message": 1, "deduplication_id": "a"})
        ask = {"name": "q", "wait": False, "lease": 60}
        first = (await invoke(alice, "queues", "receive", ask)).header["json"]
        assert (first["message"], first["attempts"]) == (1, 1)
        assert (await invoke(alice, "queues", "receive", ask)).header == {"type": "empty"}
        lease = {"name": "q", "lease": first["lease"]}
        assert (await invoke(alice, "queues", "extend", {**lease, "seconds": 90})).header == {"type": "empty"}
        assert (await invoke(alice, "queues", "release", lease)).header == {"type": "empty"}
        second = (await invoke(alice, "queues", "receive", {**ask, "receive_id": 7})).header["json"]
        assert second["attempts"] == 2
        cancelled = await invoke(alice, "queues", "cancel_receive", {"name": "q", "receive_id": 7})
        assert cancelled.header["json"] == {"outcome": "returned"}
        third = (await invoke(alice, "queues", "receive", ask)).header["json"]
        done = {"name": "q", "lease": third["lease"]}
        assert (await invoke(alice, "queues", "ack", done)).header == {"type": "empty"}
        assert (await invoke(alice, "queues", "ack", done)).header["type"] == "error"


async def test_queues_and_the_log(server: TestServer) -> None:
    async with join(server) as alice:
        logs = await Stream.open(alice, "developer", "logs", "logs")
        await logs.opened()
        await invoke(alice, "queues", "send", {"name": "q", "create": True, "message": {"a": 1}})
        listed = (await invoke(alice, "queues", "list", {})).header["json"]
        assert listed == {"queues": [{"name": "q", "size": 1}]}
        received = await invoke(alice, "queues", "receive", {"name": "q", "create": True, "wait": False})
        assert received.header == {"type": "json", "json": {"a": 1}}
        empty = await invoke(alice, "queues", "receive", {"name": "q", "create": True, "wait": False})
        assert empty.header == {"type": "empty"}
        assert (await invoke(alice, "queues", "close", {"name": "q"})).header == {"type": "empty"}
        await invoke(alice, "developer", "warning", {"message": "careful", "extra": {"n": 1}})
        while True:
            chunk, payload = await logs.next()
            if chunk["headers"] == {"type": "warning"}:
                break
        assert json.loads(payload) == {"message": "careful", "n": 1}
        await logs.close()
        await logs.closed()


TOOLKIT = {
    "name": "tools",
    "title": "Tools",
    "description": "some tools",
    "public": True,
    "annotations": {"a": "b"},
    "tools": {
        "add": {"title": "Add", "description": "", "input_spec": {"types": ["json"], "stream": False, "schema": {}}},
        "count": {"title": "Count", "description": "", "input_spec": {"types": ["control"], "stream": True}},
    },
}


async def test_hosted_tools_are_called_between_generations(server: TestServer) -> None:
    async with join(server, "new") as new, join(server, "old") as old:
        await new.ok("room.register_toolkit", TOOLKIT)
        request = await old.send("agent.invoke_tool", {"toolkit": "tools", "tool": "add", "arguments": {"a": 1}})
        call = await new.expect("room.tool_call.tools")
        assert call.header["name"] == "add"
        assert call.header["arguments"] == {"type": "json", "json": {"a": 1}}
        await new.send("room.tool_call_response", {"type": "json", "json": {"sum": 1}}, message_id=call.id)
        assert (await old.answer(request)).header == {"type": "json", "json": {"sum": 1}}

        flat = {"name": "flat", "public": True, "tools": {"add": {"title": "Add", "input_schema": {"type": "object"}}}}
        await old.ok("agent.register_toolkit", flat)
        listed = (await new.ok("room.list_toolkits", {}))["tools"]
        assert listed["flat"]["tools"]["add"]["input_spec"]["schema"] == {"type": "object"}
        assert listed["tools"]["annotations"] == {"a": "b"}
        assert {"storage", "messaging", "sync", "queues"} <= set(listed)
        header = {
            "toolkit": "flat",
            "tool": "add",
            "arguments": {"type": "json", "json": {"a": 2}},
            "tool_call_id": "x",
        }
        request = await new.send("room.invoke_tool", header)
        call = await old.expect("agent.tool_call.flat")
        assert call.header["arguments"] == {"a": 2}
        await old.send("agent.tool_call_response", {"type": "text", "text": "two"}, message_id=call.id)
        assert (await new.answer(request)).header == {"type": "text", "text": "two"}


async def test_tools_stream_in_both_directions(server: TestServer) -> None:
    async with join(server, "host") as host, join(server, "caller") as caller:
        await host.ok("room.register_toolkit", TOOLKIT)
        stream = await Stream.open(caller, "tools", "count", "mine")
        call = await host.expect("room.tool_call.tools")
        assert call.header["arguments"] == OPEN
        host_call = call.header["tool_call_id"]
        await stream.send({"type": "json", "json": {"n": 1}})
        item = await host.expect("room.tool_call_request_chunk.tools")
        assert item.header == {"tool_call_id": host_call, "chunk": {"type": "json", "json": {"n": 1}}}
        await host.send("room.tool_call_response", OPEN, message_id=call.id)
        await stream.opened()
        progress = {"tool_call_id": host_call, "chunk": {"type": "binary", "headers": {"a": 1}}}
        await host.send("room.tool_call_response_chunk", progress, b"data", message_id=call.id)
        assert await stream.next() == ({"type": "binary", "headers": {"a": 1}}, b"data")
        await stream.close()
        assert (await host.expect("room.tool_call_request_chunk.tools")).header["chunk"]["method"] == "close"
        ending = {"tool_call_id": host_call, "chunk": CLOSE}
        await host.send("room.tool_call_response_chunk", ending, message_id=call.id)
        await stream.closed()


async def test_a_host_that_leaves_ends_the_streams_of_its_callers(server: TestServer) -> None:
    async with join(server, "caller") as caller:
        async with join(server, "host") as host:
            await host.ok("room.register_toolkit", TOOLKIT)
            stream = await Stream.open(caller, "tools", "count", "mine")
            call = await host.expect("room.tool_call.tools")
            await host.send("room.tool_call_response", OPEN, message_id=call.id)
            await stream.opened()
        chunk, _ = await stream.next()
        assert chunk["type"] == "error"
        await stream.closed()


async def test_a_caller_that_leaves_closes_the_input_of_its_host(server: TestServer) -> None:
    async with join(server, "host") as host:
        await host.ok("room.register_toolkit", TOOLKIT)
        async with join(server, "caller") as caller:
            await Stream.open(caller, "tools", "count", "mine")
            await host.expect("room.tool_call.tools")
        assert (await host.expect("room.tool_call_request_chunk.tools")).header["chunk"]["method"] == "close"


async def test_participants_stream_messages_through_the_broker(server: TestServer) -> None:
    async with join(server, "alice") as alice, join(server, "bob") as bob:
        stream = await Stream.open(alice, "messaging", "stream", "s")
        first = {
            "to_participant_id": bob.participant_id,
            "type": "voice",
            "message_json": "{}",
            "attachment_base64": None,
        }
        await stream.send({"type": "json", "json": first})
        call = await bob.expect("room.tool_call.messaging")
        assert call.header["name"] == "stream"
        assert call.header["caller_id"] == alice.participant_id
        opening = await bob.expect("room.tool_call_request_chunk.messaging")
        assert opening.header["chunk"]["json"]["from_participant_id"] == alice.participant_id
        assert opening.header["chunk"]["json"]["type"] == "voice"
        await bob.send("room.tool_call_response", OPEN, message_id=call.id)
        item: dict[str, Any] = {"kind": "message", "type": "t", "message": {}, "attachment_base64": None}
        chunk = {"tool_call_id": call.header["tool_call_id"], "chunk": {"type": "json", "json": item}}
        await bob.send("room.tool_call_response_chunk", chunk, message_id=call.id)
        await stream.opened()
        accepted, _ = await stream.next()
        assert accepted["json"] == {"kind": "accepted", "stream_id": call.header["tool_call_id"]}
        assert (await stream.next())[0]["json"] == item


async def test_a_refused_message_stream_and_a_target_that_leaves(server: TestServer) -> None:
    async with join(server, "alice") as alice:
        nobody = await Stream.open(alice, "messaging", "stream", "n")
        await nobody.send({"type": "json", "json": {"to_participant_id": "nobody", "type": "t"}})
        assert (await alice.answer(nobody.request)).header["text"] == "the participant was not found"
        async with join(server, "bob") as bob:
            refused = await Stream.open(alice, "messaging", "stream", "r")
            await refused.send({"type": "json", "json": {"to_participant_id": bob.participant_id, "type": "t"}})
            call = await bob.expect("room.tool_call.messaging")
            await bob.send("room.tool_call_response", {"type": "error", "text": "no thanks"}, message_id=call.id)
            assert (await alice.answer(refused.request)).header["text"] == "no thanks"
            left = await Stream.open(alice, "messaging", "stream", "l")
            await left.send({"type": "json", "json": {"to_participant_id": bob.participant_id, "type": "t"}})
            call = await bob.expect("room.tool_call.messaging")
            await bob.send("room.tool_call_response", OPEN, message_id=call.id)
            await left.opened()
            await left.next()
            bob_id = bob.participant_id
        gone, _ = await left.next()
        assert gone["json"] == {"kind": "client_disconnected", "participant_id": bob_id}
        await left.closed()


async def test_what_is_not_built_is_said_with_its_number(server: TestServer) -> None:
    async with join(server) as alice:
        answer = await invoke(alice, "storage", "teleport", {})
        assert (answer.header["type"], answer.header["code"]) == ("error", 1007)
        answer = await invoke(alice, "containers", "run", {})
        assert (answer.header["type"], answer.header["code"]) == ("error", 1007)
        header = envelope.pack({"tool_call_id": "unknown", "chunk": CLOSE})
        assert header
        answer = await alice.request("room.tool_call_request_chunk", {"tool_call_id": "unknown", "chunk": CLOSE})
        assert answer.header == {"type": "empty"}
