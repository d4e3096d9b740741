"""A quiet client beside a flood: how long its requests take, in another room and in the same one.

    python -m benchmarks.fairness [--quick] [-- server flags]

One client floods a room as fast as the server reads; another asks for the list of agents a hundred times, one request
at a time. There is no yardstick: the rows `no flood` are what to compare with. Where the server waited for a core, the
p99 says more about other programs of the machine than about the server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pycrdt import Doc, Text

from benchmarks.flood import Flood
from benchmarks.requests import Requester, RoomAnswers, room_request
from benchmarks.running import run_benchmark
from benchmarks.subjects import BULK_PACKET, FIRST_EDIT_ID, RoomServer, Session, message_frames, start_server
from benchmarks.support import SERVER, Options, Samples, percentile
from benchmarks.tools import RoomCalls
from meshagent.api.wire import envelope

FLOODED = "flooded"
QUIET = "quiet"
ROWS = 2000
PAUSE = 0.005
GIVEN_UP = 5.0


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of flood: what it sends once, and over and over."""

    name: str
    frames: Callable[[], Sequence[bytes]]
    setup: Sequence[bytes] = ()


def _repeated(message_type: str, header: object, payload: bytes = b"", count: int = 500) -> Callable[[], list[bytes]]:
    data = envelope.pack(header, payload)

    def frames() -> list[bytes]:
        return [message_frames(FIRST_EDIT_ID + n, message_type, data, BULK_PACKET) for n in range(count)]

    return frames


def _edits() -> list[bytes]:
    doc: Doc[Any] = Doc()
    text = doc.get("text", type=Text)
    frames = []
    for number in range(500):
        before = doc.get_state()
        text += f"{number} "
        data = envelope.pack({"path": "flood.document"}, doc.get_update(before))
        frames.append(message_frames(FIRST_EDIT_ID + number, "room.sync", data))
    return frames


def kinds() -> list[Kind]:
    """Every kind of flood."""
    broadcast = {"type": "flood", "message": {}}
    opened = room_request(0, "room.connect", {"path": "flood.document", "create": True})
    search = {"table": "rows", "where": "n > 10", "limit": 10}
    return [
        Kind("no flood", list),
        Kind("broadcasts of 200 B", _repeated("messaging.broadcast", broadcast, bytes(200))),
        Kind("broadcasts of 256 KiB", _repeated("messaging.broadcast", broadcast, bytes(256 * 1024), count=8)),
        Kind("queue sends", _repeated("queues.send", {"name": "flood", "create": True, "message": "x" * 100})),
        Kind("storage.open", _repeated("storage.open", {"path": "flood.txt", "overwrite": True})),
        Kind("storage.list", _repeated("storage.list", {"path": ""})),
        Kind("searches", _repeated("database.search", search)),
        Kind("SQL opens", _repeated("dataset.open_sql_query", {"query": "SELECT 1 AS one", "tables": []})),
        Kind("set_attributes", _repeated("set_attributes", {"status": "x" * 100})),
        Kind("document updates", _edits, (opened,)),
        Kind("tool calls", _repeated("agent.invoke_tool", {"toolkit": "bench", "tool": "echo", "arguments": {}})),
    ]


async def quiet_seconds(server: RoomServer, room: str, count: int) -> list[float]:
    """How long each request of a quiet client takes. One that is not answered, or whose client is cut off, is the last,
    and counts `GIVEN_UP` seconds."""
    connection = await server.join(room, server.token(room, "quiet"), messaging=True)
    requests = [room_request(number, "agent.list_agents", {}) for number in range(count)]
    requester = Requester(connection, RoomAnswers(), requests)
    taken: list[float] = []
    try:
        for _ in range(count):
            async with asyncio.timeout(GIVEN_UP):
                await requester.run(1, 1)
            taken += requester.seconds
            await asyncio.sleep(PAUSE)
    except (TimeoutError, ConnectionError):
        taken.append(GIVEN_UP)
    finally:
        connection.close()
    return taken


def core_wait(pid: int) -> float:
    """Seconds that the event loop of a process was ready to run and had no core."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[1]) / 1e9


async def beside(server: RoomServer, kind: Kind, count: int) -> dict[str, float]:
    """The quiet client's figures beside one kind of flood."""
    path = f"/rooms/{FLOODED}?token={quote(server.token(FLOODED, 'flooder'))}"
    frames = kind.frames()
    flood = Flood(server.port, path, kind.setup, frames) if frames else None
    began_at, waited_before = time.perf_counter(), core_wait(server.pid)
    if flood is not None:
        flood.start()
    try:
        figures = {}
        for where, room in (("another room", QUIET), ("the same room", FLOODED)):
            seconds = await quiet_seconds(server, room, count)
            figures[f"{where}, p50 ms"] = percentile(seconds, 50) * 1e3
            figures[f"{where}, p99 ms"] = percentile(seconds, 99) * 1e3
        waited = core_wait(server.pid) - waited_before
        figures["server waited for a core, %"] = 100 * waited / (time.perf_counter() - began_at)
        return figures
    finally:
        if flood is not None:
            await asyncio.to_thread(flood.stop)


async def run(options: Options, samples: Samples) -> None:
    """Each flood in turn, on one server."""
    async with start_server(options.server_flags) as server:
        owner = Session(await server.join(FLOODED, server.token(FLOODED, "owner")))
        table = {"name": "rows", "schema": {"n": {"type": "int"}}, "data": [{"n": n} for n in range(ROWS)]}
        await owner.request("database.create_table", table)
        host = await RoomCalls(server, FLOODED).open_host()
        for _ in range(options.rounds):
            for kind in kinds():
                figures = await beside(server, kind, options.scaled(100, 3))
                samples.add(SERVER, f"quiet beside {kind.name}", figures)
        host.close()
        owner.connection.close()


if __name__ == "__main__":
    run_benchmark(run, __doc__)
