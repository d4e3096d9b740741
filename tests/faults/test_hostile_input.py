"""A million random and mutated inputs over every parser: the server goes on serving, and its memory stays flat."""

from __future__ import annotations

import random
import re
from pathlib import Path

import aiohttp
import pytest

from tests.support.hostile import floods, http
from tests.support.server_process import ServerProcess, server_process
from tests.support.wire_client import connect

MAX_GROWTH_KIB = 48 * 1024
LONGEST_TURN = 0.4
"""CPU seconds; twice what is promised, since caches and cores that others use make a turn dearer, too."""

FLOODS: list[tuple[floods.Flood, int]] = [
    (floods.packets, 890_000),
    (floods.frames, 3_000),
    (floods.requests, 60_000),
    (floods.updates, 25_000),
    (floods.documents, 6_000),
    (floods.filters, 4_000),
    (floods.sql, 3_000),
    (floods.arrow, 3_000),
    (http.http, 6_000),
]
"""Inputs of each kind; together a million. Most are cheap ones: the whole run should take minutes."""


def resident_kib(pid: int) -> int:
    """Memory of a process that is in RAM."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


async def longest_turn(server: ServerProcess) -> tuple[float, str]:
    """CPU seconds of the loop's longest turn so far, and the operation that caused it."""
    async with aiohttp.ClientSession() as session, session.get(server.url + "/metrics") as answer:
        found = re.search(
            r'^meshagent_loop_longest_turn_cpu_seconds\{operation="(.*)"\} (\S+)$', await answer.text(), re.M
        )
    assert found is not None
    return float(found[2]), found[1]


async def check_it_serves(server: ServerProcess) -> None:
    async with connect(server.url, server.token("alice")) as alice:
        await alice.ok("messaging.enable")
        await alice.open_document("fine.document")
        await alice.ok("storage.list", {"path": ""})
        await alice.ok("database.list_tables")


async def flood_and_check(server: ServerProcess, attacks: list[tuple[floods.Flood, int]]) -> None:
    """Send each flood in two halves; the second must not need more memory."""
    started = server.pid
    for flood, count in attacks:
        await flood(server, random.Random(1), count // 2)
        await check_it_serves(server)
        before = resident_kib(server.pid)
        await flood(server, random.Random(2), count // 2)
        await check_it_serves(server)
        grown = resident_kib(server.pid) - before
        assert server.pid == started
        assert grown < MAX_GROWTH_KIB, f"the server's memory grew by {grown} KiB"
        seconds, operation = await longest_turn(server)
        assert seconds < LONGEST_TURN, f"{operation} held the loop for {seconds:.3f} s of CPU time"


@pytest.mark.timeout(300)
async def test_one_in_a_hundred_of_each_flood(tmp_path: Path, unused_tcp_port: int) -> None:
    async with server_process(tmp_path, unused_tcp_port) as server:
        await flood_and_check(server, [(flood, count // 100) for flood, count in FLOODS])


@pytest.mark.slow
@pytest.mark.parametrize(("flood", "count"), FLOODS, ids=[flood.__name__ for flood, _ in FLOODS])
@pytest.mark.timeout(600)
async def test_a_flood_of_hostile_input_leaves_the_server_serving(
    tmp_path: Path, unused_tcp_port: int, flood: floods.Flood, count: int
) -> None:
    async with server_process(tmp_path, unused_tcp_port) as server:
        await flood_and_check(server, [(flood, count)])
