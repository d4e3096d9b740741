"""Random and mutated frames against a running server: it goes on serving, and its memory stays flat."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshagent.api.wire import envelope
from meshagent.api.wire.packets import iter_packets
from tests.support.server_process import ServerProcess, server_process
from tests.support.websocket_peer import Peer, client_frame, handshake
from tests.support.wire_client import connect

BINARY = 2
REQUESTS = [
    ("room.connect", {"path": "fuzz.document", "create": True}),
    ("room.sync", {"path": "fuzz.document"}),
    ("room.create", {"path": "made.thread", "json": {"thread": {"properties": []}}}),
    ("messaging.enable", {}),
    ("messaging.broadcast", {"type": "x", "message": {"a": [1, 2, 3]}}),
    ("messaging.send", {"to_participant_id": "x", "type": "x", "message": {}}),
    ("storage.list", {"path": ""}),
    ("storage.stat", {"path": "a/b"}),
    ("storage.write", {"handle": 1}),
    ("queues.receive", {"name": "q", "create": True, "wait": False}),
    ("queues.list", {}),
    ("agent.list_toolkits", {"participant_id": None}),
    ("agent.invoke_tool", {"toolkit": "t", "tool": "t", "arguments": {}}),
    ("agent.tool_call_response", {"type": "json", "json": {}}),
    ("agent.ask_response", {"task_id": "x", "answer": {}}),
    ("developer.log", {"type": "x", "data": {}}),
    ("set_attributes", {"a": 1}),
]


def packets(chance: random.Random) -> Iterator[bytes]:
    """Packets without end: requests as they should be, cut, doubled, shuffled and with bytes changed, and noise."""
    while True:
        kind, header = chance.choice(REQUESTS)
        text = json.dumps(header).encode()
        data = envelope.pack(header, chance.randbytes(chance.randrange(40)))
        if chance.random() < 0.3:
            data = len(text).to_bytes(8, "big") + mutated(text, chance) + b"tail"
        made = list(iter_packets(chance.randrange(2**20), kind, data, chance.choice((16, 64, 1024))))
        match chance.randrange(6):
            case 0:
                made = [mutated(packet, chance) for packet in made]
            case 1:
                chance.shuffle(made)
            case 2:
                made = made[: chance.randrange(len(made) + 1)]
            case 3:
                made = [chance.randbytes(chance.randrange(60))]
            case _:
                pass
        yield from made


def mutated(data: bytes, chance: random.Random) -> bytes:
    """`data` with a few bytes changed."""
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        if changed:
            changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


async def pelt(server: ServerProcess, frames: int, seed: int) -> None:
    """Send frames on fresh connections, 5,000 on each, reading away what comes back; some frames are broken too."""
    chance = random.Random(seed)
    stream = packets(chance)
    sent = 0
    while sent < frames:
        async with await Peer.connect(server.port) as peer:
            peer.send(handshake(f"/rooms/fuzz?token={server.token('fuzzer', 'fuzz')}"))
            assert " 101 " in await peer.head()
            reading = asyncio.create_task(read_away(peer))
            count = min(5_000, frames - sent)
            for start in range(0, count, 250):
                peer.send(b"".join(client_frame(BINARY, next(stream)) for _ in range(min(250, count - start))))
                await peer.writer.drain()
            sent += count
            peer.send(mutated(client_frame(BINARY, b"the last frame"), chance))  # may end the connection with 1002
            peer.writer.write_eof()
            await reading


async def read_away(peer: Peer) -> None:
    """Read until the connection ends, be it cleanly or not."""
    try:
        while await peer.reader.read(2**16):
            pass
    except ConnectionError:
        pass


def resident_kib(pid: int) -> int:
    """Memory of a process that is in RAM."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


async def check_it_serves(server: ServerProcess) -> None:
    async with connect(server.url, server.token("alice")) as alice:
        await alice.ok("messaging.enable")
        await alice.open_document("fine.document")
        await alice.ok("storage.list", {"path": ""})


@pytest.mark.parametrize(
    "frames",
    [pytest.param(20_000, id="quick"), pytest.param(1_000_000, id="full", marks=[pytest.mark.slow])],
)
@pytest.mark.timeout(600)
async def test_a_flood_of_broken_frames_leaves_the_server_serving(
    tmp_path: Path, unused_tcp_port: int, frames: int
) -> None:
    async with server_process(tmp_path, unused_tcp_port) as server:
        await pelt(server, frames // 2, seed=1)
        await check_it_serves(server)
        before = resident_kib(server.pid)
        await pelt(server, frames // 2, seed=2)
        await check_it_serves(server)
        grown = resident_kib(server.pid) - before
        assert grown < 40 * 1024, f"the server's memory grew by {grown} KiB"
