"""What is in a room, by the command line: messages, queues, the log, documents, tokens, the way in."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
from typing import Any

from meshagent.api.room.client import RoomClient
from meshagent.api.tokens import ParticipantToken
from meshagent.api.transport.websocket import WebSocketClientProtocol
from tests.support.command_line import CommandLine, lines_until
from tests.support.server import SECRET, TestServer


def joined(server: TestServer, name: str = "bob", role: str | None = None) -> RoomClient:
    return RoomClient(
        protocol=WebSocketClientProtocol(url=server.room_url(), token=server.token(name, room="room", role=role))
    )


async def test_messages_reach_one_or_all(cli: CommandLine, server: TestServer) -> None:
    async with joined(server, role="agent") as room:
        received: asyncio.Queue[Any] = asyncio.Queue()
        room.messaging.on("message", received.put_nowait)
        await room.messaging.enable()
        listed = await cli("messaging", "list-participants", "--json")
        assert [(entry["name"], entry["role"]) for entry in listed.json] == [("bob", "agent")]
        await asyncio.gather(
            cli("messaging", "send", "--to", "bob", '{"a": 1}'),
            cli("messaging", "send", "--to-participant-id", listed.json[0]["id"], "--data", "hi", "--type", "note"),
            cli("room", "messaging", "broadcast", "-", stdin="[1]"),
        )
        messages = [await received.get() for _ in range(3)]
    assert sorted((message.type, json.dumps(message.message)) for message in messages) == [
        ("json", '{"a": 1}'),
        ("json", '{"value": [1]}'),
        ("note", '{"text": "hi"}'),
    ]
    assert "'carol' is not in the room" in await cli.fails("messaging", "send", "--to", "carol", "x", code=3)
    assert "MESSAGE is required" in await cli.fails("messaging", "broadcast", code=2)


async def test_watching_messages_and_the_log(cli: CommandLine, server: TestServer) -> None:
    async with (
        joined(server) as room,
        cli.start("messaging", "watch", "-c", "1", "--name", "ear") as ear,
        cli.start("developer", "watch", "-c", "2", "--type", "work", "--json") as eye,
    ):
        await asyncio.gather(lines_until(ear.stderr, "listening"), lines_until(eye.stderr, "watching"))
        await room.messaging.broadcast_message(type="note", message={"n": 1}, attachment=b"12")
        await room.developer.log("noise", {})
        await room.developer.log("work", {"n": 1})
        await cli("developer", "log", "work", '{"n": 2}')
        (heard, _), (seen, _) = await asyncio.gather(ear.communicate(), eye.communicate())
        assert json.loads(heard) == {
            "from": room.local_participant.id,
            "type": "note",
            "message": {"n": 1},
            "attachment_bytes": 2,
        }
        assert [json.loads(line)["data"] for line in seen.splitlines()] == [{"n": 1}, {"n": 2}]
        assert (ear.returncode, eye.returncode) == (0, 0)
    assert "JSON" in await cli.fails("developer", "log", "work", "{", code=2)


async def test_queues(cli: CommandLine) -> None:
    await cli("queue", "send", "jobs", '{"n": 1}')
    await cli("queue", "send", "--queue", "jobs", "--json", "two words")
    assert (await cli("queue", "list", "--json")).json == [{"name": "jobs", "size": 2}]
    assert (await cli("queue", "receive", "jobs")).json == {"n": 1}
    assert (await cli("queue", "receive", "--queue", "jobs")).json == "two words"
    assert "empty" in await cli.fails("queue", "receive", "jobs", "--no-wait", code=3)
    assert "timed out" in await cli.fails("queue", "receive", "jobs", "--timeout", "0.05", code=7)
    await cli("queue", "send", "jobs", "3")
    await cli("room", "queue", "drain", "jobs")
    assert (await cli("queue", "list")).rows == [["jobs", "0"]]
    await cli("queue", "close", "jobs")
    assert "not found" in (await cli.fails("queue", "send", "jobs", "x", "--no-create", code=3)).lower()


async def test_leased_messages_stay_until_they_are_acknowledged(cli: CommandLine) -> None:
    await cli("queue", "send", "jobs", "one", "--deduplication-id", "a")
    await cli("queue", "send", "jobs", "one", "--deduplication-id", "a")
    leased = (await cli("queue", "receive", "jobs", "--lease", "60")).json
    assert (leased["message"], leased["attempts"]) == ("one", 1)
    assert "empty" in await cli.fails("queue", "receive", "jobs", "--no-wait", "--lease", "60", code=3)
    await cli("queue", "extend", "jobs", leased["lease"], "120")
    await cli("queue", "release", "jobs", leased["lease"])
    assert "expired" in await cli.fails("queue", "ack", "jobs", leased["lease"], code=3)
    again = (await cli("queue", "receive", "jobs", "--lease", "60")).json
    assert again["attempts"] == 2
    await cli("queue", "ack", "jobs", again["lease"])
    await cli("queue", "send", "jobs", "later", "--delay", "600")
    assert "empty" in await cli.fails("queue", "receive", "jobs", "--no-wait", code=3)
    assert "--lease" in await cli.fails("queue", "receive", "jobs", "--max-attempts", "1", code=2)


async def test_dead_messages_are_listed_and_tried_again(cli: CommandLine) -> None:
    assert "no dead messages" in (await cli("queue", "dead", "list")).err
    for message in ("one", "two"):
        await cli("queue", "send", "jobs", message)
        leased = (await cli("queue", "receive", "jobs", "--lease", "60")).json
        await cli("queue", "release", "jobs", leased["lease"])
        await cli.fails("queue", "receive", "jobs", "--lease", "60", "--max-attempts", "1", "--no-wait", code=3)
    assert (await cli("queue", "dead", "list", "--json")).json == [{"queue": "jobs", "dead": 2}]
    assert "1 message" in (await cli("queue", "dead", "retry", "jobs", "--count", "1")).out
    assert (await cli("queue", "receive", "jobs", "--lease", "60")).json["message"] == "one"
    assert "1 message" in (await cli("queue", "dead", "retry", "jobs")).out
    assert (await cli("queue", "receive", "jobs", "--lease", "60")).json["attempts"] == 1
    assert (await cli("queue", "dead", "list", "jobs", "--json")).json == []
    assert "0 messages" in (await cli("queue", "dead", "retry", "jobs")).out


async def test_documents_are_shown_and_changed_as_json(cli: CommandLine, server: TestServer) -> None:
    content = {"document": {"content": [{"heading": {"text": "One"}}]}}
    await cli("document", "create", "a.document", "--json", json.dumps(content))
    async with joined(server) as room, cli.start("document", "watch", "a.document", "-c", "1") as watch:
        document = await room.sync.open("a.document")
        assert watch.stdout is not None
        assert json.loads(await watch.stdout.readline()) == content
        await cli(
            "document",
            "edit",
            "a.document",
            "--patch",
            json.dumps([{"op": "add", "path": "/document/content/-", "value": {"body": {"text": "Two"}}}]),
        )
        both = {"document": {"content": [{"heading": {"text": "One"}}, {"body": {"text": "Two"}}]}}
        assert json.loads((await watch.communicate())[0]) == both
        assert document.to_json() == both
    shown = await cli("room", "document", "show", "a.document", "--ids")
    assert "$id" in shown.json["document"]["content"][0]["heading"]
    await cli("document", "edit", "a.document", env={"EDITOR": "sed -i s/One/Uno/", "VISUAL": ""})
    await cli("document", "edit", "a.document", env={"EDITOR": "true", "VISUAL": ""})
    assert "Uno" in (await cli("document", "show", "a.document")).out
    await cli("document", "edit", "a.document", "--json", "-", stdin=json.dumps(content))
    assert (await cli("document", "show", "a.document")).json == content


async def test_what_is_wrong_with_a_document_is_said(cli: CommandLine) -> None:
    refusals = await asyncio.gather(
        cli.fails("document", "show", "nope.document", code=3),
        cli.fails("document", "watch", "nope.document", code=3),
        cli.fails("document", "edit", "nope.document", "--patch", "{}", code=2),
        cli.fails("document", "create", "x.unknown", code=3),
    )
    assert all("error:" in refusal for refusal in refusals)


async def test_tokens_are_made_from_files_and_options(cli: CommandLine, server: TestServer) -> None:
    (cli.home / "spec.yaml").write_text(
        "version: v1\nkind: ParticipantToken\nidentity: worker\nroom: room\nrole: agent\napi:\n  queues: {}\n"
    )
    await cli("participant-token", "generate", "--input", "spec.yaml", "--output", "t/token", "--expires-in", "1")
    kept = cli.home / "t" / "token"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    token = ParticipantToken.from_jwt(kept.read_text().strip(), secret=SECRET)
    assert (token.name, token.grant_scope("role"), token.grant_scope("api")) == ("worker", "agent", {"queues": {}})
    shown, _, refused = await asyncio.gather(
        cli("participant-token", "show", "t/token"),
        cli("queue", "list", "--token-path", "t/token"),
        cli.fails("storage", "ls", "--token-path", "t/token", code=4),
    )
    assert shown.json["is_expired"] is False
    assert "does not allow" in refused
    made = await cli("participant-token", "generate", "--name", "eve", "--room", "den")
    assert ParticipantToken.from_jwt(made.out.strip(), secret=SECRET).allows_room("den")
    (cli.home / "spec.yaml").write_text("kind: Service\n")
    assert "ParticipantToken" in await cli.fails("participant-token", "generate", "-i", "spec.yaml", code=2)


async def test_a_program_gets_the_room_in_its_environment(cli: CommandLine) -> None:
    program = "import os; print(os.environ['MESHAGENT_ROOM_URL']); raise SystemExit(9)"
    ended = await cli("room", "connect", "--name", "ann", "--", sys.executable, "-c", program, code=9)
    assert ended.out.strip().endswith("/rooms/room")
    inner = ("queue", "send", "jobs", "1")
    await cli("room", "connect", "--", sys.executable, "-m", "meshagent.cli", *inner, env={"MESHAGENT_SECRET": ""})
    printed = await cli("room", "connect", "--json")
    only = {**printed.json, "MESHAGENT_ROOM": "", "MESHAGENT_PROFILE": "/nowhere"}
    assert (await cli("queue", "list", "--json", env=only)).json == [{"name": "jobs", "size": 1}]
    assert "command not found" in await cli.fails("room", "connect", "--", "no-such-command-here", code=3)


async def test_why_a_room_cannot_be_joined(cli: CommandLine) -> None:
    elsewhere = {"MESHAGENT_API_URL": "http://127.0.0.1:9"}
    wrong = {
        "MESHAGENT_SECRET": "another secret",
        "MESHAGENT_PROJECT_ID": "test-project",
        "MESHAGENT_KEY_ID": "test-key",
    }
    nobody, refused, unnamed = await asyncio.gather(
        cli.fails("queue", "list", code=5, env=elsewhere),
        cli.fails("queue", "list", code=4, env=wrong),
        cli.fails("queue", "list", code=2, env={"MESHAGENT_ROOM": ""}),
    )
    assert "hint: is the server running?" in nobody
    assert "whoami" in refused
    assert "{" not in refused
    assert "--room" in unnamed
