"""What a participant makes the server keep is bounded in bytes."""

from __future__ import annotations

from pathlib import Path

from meshagent.server.rooms.attributes import MAX_ATTRIBUTE_BYTES
from meshagent.server.services.agents.registry import MAX_REGISTRATION_BYTES
from tests.support.server import serve
from tests.support.wire_client import join


async def test_attributes_are_bounded_in_bytes_and_replacing_them_is_not_counted(tmp_path: Path) -> None:
    async with serve(tmp_path) as server, join(server) as alice, join(server, "bob") as bob:
        alice.packet_bytes = 65536
        await bob.ok("messaging.enable")
        await alice.ok("messaging.enable")
        for number in range(4):
            await alice.send("set_attributes", {"about": "x" * (MAX_ATTRIBUTE_BYTES // 3), "n": number})
        await alice.send("set_attributes", {"large": "y" * MAX_ATTRIBUTE_BYTES})
        await alice.settle()
        await bob.settle()
        [room] = [entry.room for entry in server.started.rooms.directory.rooms]
        attributes = next(p for p in room.state.participants.values() if p.name == "alice").attributes
        assert attributes["n"] == 3
        assert "large" not in attributes


async def test_registrations_are_bounded_in_bytes(tmp_path: Path) -> None:
    async with serve(tmp_path) as server, join(server, "host", role="agent") as host:
        host.packet_bytes = 65536
        tools = {"a": {"description": "x" * (MAX_REGISTRATION_BYTES // 3), "input_schema": {"type": "object"}}}
        for number in range(2):
            await host.ok("agent.register_toolkit", {"name": f"kit {number}", "public": True, "tools": tools})
        refused = {"name": "one too many", "public": True, "tools": tools}
        assert "bytes at most" in await host.error("agent.register_toolkit", refused)
