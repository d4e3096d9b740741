"""Rules of the wire that hold for every operation, at wire level."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from meshagent.api.wire import envelope
from meshagent.api.wire.packets import data_packet, header_packet, iter_packets
from tests.support.invoke_client import invoke
from tests.support.server import TestServer, rooms_ended, serve
from tests.support.wire_client import WireClient, join

EXISTS = envelope.pack({"path": ""})


async def answered(client: WireClient, message_id: int) -> None:
    """The request of that id asked for what is always there."""
    assert (await client.answer(message_id)).header["json"] == {"exists": True}


async def test_the_welcome_is_three_messages_in_order(server: TestServer) -> None:
    async with join(server) as alice:
        assert [message.type for message in alice.log[:3]] == ["connected", "room.status", "room_ready"]
        assert set(alice.log[2].header) == {"room_name", "room_url", "session_id"}


async def test_text_frames_are_ignored(server: TestServer) -> None:
    async with join(server) as alice:
        await alice.socket.send_str("a text frame")
        await alice.settle()


async def test_an_id_of_zero_is_answered(server: TestServer) -> None:
    async with join(server) as alice:
        assert await alice.send("storage.exists", {"path": ""}) == 0
        await answered(alice, 0)


@pytest.mark.parametrize("size", [1, 7, 1024, 65_536])
async def test_packets_may_have_any_size(server: TestServer, size: int) -> None:
    async with join(server) as alice:
        for packet in iter_packets(5, "storage.exists", EXISTS, size):
            await alice.socket.send_bytes(packet)
        await answered(alice, 5)


async def test_broken_packets_leave_no_trace(server: TestServer) -> None:
    async with join(server) as alice:
        for packet in (
            b"short",
            data_packet(1, 1, b"a data packet without a header"),
            header_packet(2, b"storage.exists", 3),
            data_packet(2, 1, b"left over"),
            data_packet(2, 3, b"out of order"),
            header_packet(3, b"\xff\xfe", 1),
        ):
            await alice.socket.send_bytes(packet)
        for packet in iter_packets(9, "storage.exists", EXISTS):
            await alice.socket.send_bytes(packet)
        await answered(alice, 9)
        assert [message.id for message in alice.of_type("__response__")] == [9]


async def test_a_message_cut_off_by_the_next_one_does_not_harm_it(server: TestServer) -> None:
    async with join(server) as alice:
        await alice.socket.send_bytes(header_packet(1, b"storage.exists", 2))
        await alice.socket.send_bytes(data_packet(1, 1, b"half"))
        for packet in iter_packets(2, "storage.exists", EXISTS):
            await alice.socket.send_bytes(packet)
        await answered(alice, 2)


async def test_a_broken_envelope_is_an_invalid_request(server: TestServer) -> None:
    async with join(server) as alice:
        for packet in iter_packets(1, "storage.exists", b"\x00" * 7 + b"\xff{}"):
            await alice.socket.send_bytes(packet)
        answer = await alice.answer(1)
        assert (answer.header["type"], answer.header["code"]) == ("error", 1002)


async def test_unknown_members_are_ignored_and_nulls_are_absent(server: TestServer) -> None:
    async with join(server) as alice:
        await alice.ok("queues.send", {"name": "q", "message": 1, "create": None, "from": "the future"})
        answer = await alice.request("queues.receive", {"name": "q", "wait": None})
        assert answer.header == {"type": "json", "json": 1}


async def test_a_message_that_is_too_large_is_answered_and_the_next_one_works(tmp_path: Path) -> None:
    async with serve(tmp_path / "data", limits={"max_message_bytes": 4096}) as server, join(server) as alice:
        assert "4096" in await alice.error("queues.send", {"name": "q", "message": "x" * 5000})
        await alice.settle()


async def test_both_dialects_answer_alike(server: TestServer) -> None:
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("storage", "exists", {"path": ""}),
        ("storage", "download_url", {"path": "nothing.txt"}),
        ("queues", "list", {}),
        ("queues", "receive", {"name": "nothing", "create": False}),
        ("database", "list_tables", {}),
        ("dataset", "inspect", {"table": "nothing"}),
        ("services", "restart", {"service_id": "s"}),
        ("livekit", "connect", {}),
    ]
    async with join(server) as alice:
        for toolkit, tool, request in asked:
            flat = await alice.request(f"{toolkit}.{tool}", request)
            assert (await invoke(alice, toolkit, tool, request)).header == flat.header, tool


async def test_people_keep_a_room_running_and_agents_do_not(tmp_path: Path) -> None:
    async with (
        serve(tmp_path / "data", idle_grace=0.05) as server,
        join(server, "bot", role="agent") as bot,
    ):
        async with join(server, "alice") as alice:
            several_graces_later = asyncio.get_running_loop().time() + 0.2
            while asyncio.get_running_loop().time() < several_graces_later:
                await alice.settle()
        await rooms_ended(server)
        with pytest.raises(AssertionError, match="the connection ended"):
            await bot.expect("anything else")
        assert bot.socket.close_code == 1000


async def test_a_server_that_stops_sends_no_close_frame(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as session:
        async with serve(tmp_path / "data") as server:
            socket = await session.ws_connect(server.room_url(), params={"token": server.token()})
            await socket.receive()
        while not socket.closed:
            await socket.receive()
        assert socket.close_code == 1006


TOOLS = {"who": {"title": "Who", "input_schema": {"type": "object"}}}


async def call_who(caller: WireClient, hosts: list[WireClient], **whom: str) -> str:
    """The participant id of the host that a call of the toolkit `tools` reaches."""
    request = await caller.send("agent.invoke_tool", {"toolkit": "tools", "tool": "who", "arguments": {}, **whom})
    waiting = {asyncio.ensure_future(host.expect("agent.tool_call.tools")): host for host in hosts}
    done, others = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for other in others:
        other.cancel()
    [call] = done
    host = waiting[call]
    await host.send("agent.tool_call_response", {"type": "text", "text": "here"}, message_id=call.result().id)
    assert (await caller.answer(request)).header == {"type": "text", "text": "here"}
    return host.participant_id


async def test_a_call_reaches_the_viewers_own_toolkit_then_the_earliest_public_one(server: TestServer) -> None:
    async with join(server, "a") as first, join(server, "b") as second, join(server, "c") as private:
        hosts = [first, second, private]
        for host in (first, second):
            await host.ok("agent.register_toolkit", {"name": "tools", "public": True, "tools": TOOLS})
        await private.ok("agent.register_toolkit", {"name": "tools", "public": False, "tools": TOOLS})
        assert await call_who(second, hosts) == first.participant_id  # the earliest public one, not its own
        assert await call_who(private, hosts) == private.participant_id
        whom = {"participant_id": private.participant_id}
        assert await call_who(first, hosts, **whom) == private.participant_id


async def test_the_rooms_own_toolkits_come_first_in_the_invoke_dialect(server: TestServer) -> None:
    async with join(server, "host") as host, join(server, "caller") as caller:
        await host.ok("room.register_toolkit", {"name": "queues", "public": True, "tools": {"list": {}, "more": {}}})
        assert (await invoke(caller, "queues", "list", {})).header == {"type": "json", "json": {"queues": []}}
        arguments = {"type": "json", "json": {}}
        for tool, whom in (("more", None), ("list", host.participant_id)):
            call = {"toolkit": "queues", "tool": tool, "arguments": arguments, "participant_id": whom}
            request = await caller.send("room.invoke_tool", call)
            forwarded = await host.expect("room.tool_call.queues")
            assert forwarded.header["name"] == tool
            await host.send("room.tool_call_response", {"type": "empty"}, message_id=forwarded.id)
            assert (await caller.answer(request)).header == {"type": "empty"}
