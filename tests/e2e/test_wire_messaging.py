"""Presence and messages at wire level (protocol 5)."""

from __future__ import annotations

from tests.support.server import TestServer
from tests.support.wire_client import join


async def test_presence_is_told_in_the_documented_order(server: TestServer) -> None:
    async with join(server, "alice") as alice, join(server, "bob", role="agent") as bob:
        request = await alice.send("messaging.enable", {})
        listed = await alice.message("messaging.enabled")
        assert listed.header["message"] == {"participants": []}
        assert listed.header["from_participant_id"] == alice.participant_id
        await alice.answer(request)
        await bob.ok("messaging.enable")
        order = [message.type for message in bob.log if message.type in ("messaging.send", "__response__")]
        assert order == ["messaging.send", "__response__"]
        announced = await alice.message("participant.enabled")
        assert announced.header["message"] == {
            "id": bob.participant_id,
            "role": "agent",
            "attributes": {"name": "bob"},
        }
        present = (await bob.message("messaging.enabled")).header["message"]["participants"]
        assert present == [{"id": alice.participant_id, "role": "user", "attributes": {"name": "alice"}}]


async def test_enabling_twice_announces_once(server: TestServer) -> None:
    async with join(server, "alice") as alice, join(server, "bob") as bob:
        await alice.ok("messaging.enable")
        await bob.ok("messaging.enable")
        await bob.ok("messaging.enable")
        await alice.settle()
        announced = [m for m in alice.of_type("messaging.send") if m.header["type"] == "participant.enabled"]
        assert len(announced) == 1
        assert len([m for m in bob.of_type("messaging.send") if m.header["type"] == "messaging.enabled"]) == 2


async def test_leaving_is_told_to_those_who_enabled_messaging(server: TestServer) -> None:
    async with join(server, "alice") as alice, join(server, "silent") as silent:
        await alice.ok("messaging.enable")
        async with join(server, "bob") as bob:
            await bob.ok("messaging.enable")
            bob_id = bob.participant_id
        gone = await alice.message("participant.disabled")
        assert gone.header["message"] == {"id": bob_id}
        await silent.settle()
        assert silent.of_type("messaging.send") == []


async def test_a_message_reaches_one_participant_who_never_enabled_messaging(server: TestServer) -> None:
    async with join(server, "alice") as alice, join(server, "tool", role="tool") as tool:
        header = {"to_participant_id": tool.participant_id, "type": "dismiss", "message": {"why": "done", "n": 1.0}}
        await alice.ok("messaging.send", header, b"\x00attachment\xff")
        event = await tool.message("dismiss")
        assert event.header == {
            "from_participant_id": alice.participant_id,
            "type": "dismiss",
            "message": {"why": "done", "n": 1.0},
        }
        assert event.payload == b"\x00attachment\xff"


async def test_a_broadcast_reaches_the_others_who_enabled_messaging(server: TestServer) -> None:
    async with join(server, "alice") as alice, join(server, "bob") as bob, join(server, "carol") as carol:
        await bob.ok("messaging.enable")
        await alice.ok("messaging.enable")
        await alice.ok("messaging.broadcast", {"type": "text", "message": {"text": "hi"}})
        assert (await bob.message("text")).header["message"] == {"text": "hi"}
        await alice.settle()
        await carol.settle()
        assert all(m.header["type"] != "text" for c in (alice, carol) for m in c.of_type("messaging.send"))


async def test_messages_of_one_sender_arrive_in_order(server: TestServer) -> None:
    async with join(server, "alice") as alice, join(server, "bob") as bob:
        for number in range(200):
            header = {"to_participant_id": bob.participant_id, "type": "n", "message": {"n": number}}
            await alice.send("messaging.send", header, b"x" * (number % 7) * 700)
        await alice.settle()
        await bob.settle()
        assert [m.header["message"]["n"] for m in bob.of_type("messaging.send")] == list(range(200))


async def test_nobody_can_forge_presence_or_reach_the_absent(server: TestServer) -> None:
    async with join(server, "alice") as alice:
        header = {"to_participant_id": alice.participant_id, "type": "participant.disabled", "message": {"id": "x"}}
        assert "reserved for the server" in await alice.error("messaging.send", header)
        absent = {"to_participant_id": "nobody", "type": "x", "message": {}}
        assert await alice.error("messaging.send", absent) == "the participant was not found"
