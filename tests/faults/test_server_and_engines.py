"""The server and its engine processes: they end together, whatever runs, and failing tables show."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from meshagent.testing import room_server
from tests.support.engines import load_engines, until
from tests.support.server_process import ServerProcess, server_process
from tests.support.wire_client import WireClient, connect, join

pytestmark = [pytest.mark.timeout(180)]

SCHEMA = {"id": {"type": "int"}}


@pytest.fixture(scope="session", autouse=True)
def loaded_engines(tmp_path_factory: pytest.TempPathFactory) -> None:
    load_engines(tmp_path_factory.mktemp("engines"))


def descendants(pid: int) -> set[int]:
    """The processes below a process, template and engines."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue
            parents[int(entry)] = int(fields[1])
    found: set[int] = set()
    while below := {child for child, parent in parents.items() if parent in found | {pid}} - found:
        found |= below
    return found


def engines_in(pid: int) -> list[str]:
    """The engines that a process has loaded."""
    loaded = Path(f"/proc/{pid}/maps").read_text()
    return [name for name in ("lancedb", "libarrow", "duckdb") if name in loaded]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state != b"Z"  # nobody has to reap what is left of a process whose parent was killed


async def first_answer(client: WireClient, message_type: str, header: dict[str, Any]) -> Any:
    """The answer to the first request that needs an engine: a busy machine takes its time to load one."""
    number = await client.send(message_type, header)
    for _ in range(6):
        try:
            answer = await client.answer(number)
        except TimeoutError:
            continue
        assert answer.header["type"] == "json", answer.header
        return answer.header["json"]
    raise AssertionError("no engine came")


async def with_rows(server: ServerProcess) -> set[int]:
    """Make a table with a row; the server's processes."""
    async with connect(server.url, server.token("alice")) as alice:
        table = {"name": "t", "schema": SCHEMA, "data": [{"id": 1}]}
        await first_answer(alice, "database.create_table", table)
    return descendants(server.pid)


@pytest.mark.slow
async def test_a_killed_server_leaves_no_engine(tmp_path: Path, unused_tcp_port: int) -> None:
    async with server_process(tmp_path, unused_tcp_port) as server:
        processes = await with_rows(server)
        assert len(processes) == 2
        assert not engines_in(server.pid)
        assert all(engines_in(pid) for pid in processes)
        await server.kill()
        async with asyncio.timeout(10):
            await until(lambda: not any(is_alive(pid) for pid in processes))
        await server.start()
        async with connect(server.url, server.token("alice")) as alice:
            found = await first_answer(alice, "database.search", {"table": "t", "where": None})
            assert found["results"] == [{"id": 1}]


@pytest.mark.slow
async def test_a_stopped_server_waits_for_no_engine(tmp_path: Path, unused_tcp_port: int) -> None:
    """An engine that is stopped in its tracks stands for one that works without end and heeds nothing."""
    async with server_process(tmp_path, unused_tcp_port, MESHAGENT_SERVER_SHUTDOWN_GRACE="1") as server:
        processes = await with_rows(server)
        async with connect(server.url, server.token("alice")) as alice:
            await alice.ok("database.search", {"table": "t", "where": None})
            (engine,) = (pid for pid in processes if not descendants(pid))
            os.kill(engine, signal.SIGSTOP)
            await alice.send("database.search", {"table": "t", "where": None})
            await alice.send("database.insert", {"table": "t", "records": {"id": 2}})
            async with asyncio.timeout(30):
                assert await server.stop() == 0
        async with asyncio.timeout(10):
            await until(lambda: not any(is_alive(pid) for pid in processes))


def damage_newest_version(data_dir: Path) -> Callable[[], object]:
    """Damage the table `t` of the only room, and return what repairs it."""
    manifest = min(data_dir.glob("tables/*/*/t.lance/_versions/*.manifest"))  # they carry falling numbers
    content = manifest.read_bytes()
    os.truncate(manifest, 0)
    return lambda: manifest.write_bytes(content)


async def test_a_damaged_table_turns_the_health_red_and_the_others_go_on(tmp_path: Path) -> None:
    async with room_server(data_dir=tmp_path, durability="fsync") as server, join(server, "alice") as alice:
        for name in ("t", "u"):
            await alice.ok("database.create_table", {"name": name, "schema": SCHEMA, "data": [{"id": 1}]})
            await alice.ok("database.insert", {"table": name, "records": {"id": 2}})
    repair = damage_newest_version(tmp_path)
    async with (
        room_server(data_dir=tmp_path, durability="fsync") as server,
        join(server, "alice") as alice,
        aiohttp.ClientSession() as http,
    ):

        async def status() -> int:
            async with http.get(server.url + "/healthz") as answer:
                return answer.status

        refused = await alice.request("database.search", {"table": "t"})
        assert "'t' is damaged" in refused.header["text"]
        await alice.ok("database.insert", {"table": "u", "records": {"id": 2}})
        assert await status() == 503, "another table that works does not hide it"
        repair()
        await alice.ok("database.insert", {"table": "t", "records": {"id": 2}})
        assert await status() == 200


async def test_failing_tables_turn_the_health_red(tmp_path: Path) -> None:
    async with (
        room_server(data_dir=tmp_path) as server,
        join(server, "alice") as alice,
        aiohttp.ClientSession() as http,
    ):

        async def health() -> tuple[int, dict[str, Any]]:
            async with http.get(server.url + "/healthz") as answer:
                return answer.status, (await answer.json())["components"].get("tables", {})

        await alice.ok("database.create_table", {"name": "t", "schema": SCHEMA, "data": [{"id": 1}]})
        await alice.ok("database.create_table", {"name": "u", "schema": SCHEMA, "data": [{"id": 1}]})
        (folder,) = (tmp_path / "tables").glob("*/*/t.lance")
        os.rename(folder / "data", folder / "aside")
        (folder / "data").write_text("in the way")
        refused = await alice.request("database.insert", {"table": "t", "records": {"id": 2}})
        assert refused.header["type"] == "error"
        assert (await health())[0] == 503
        assert "'t'" in (await health())[1]["last_error"]
        await alice.ok("database.insert", {"table": "u", "records": {"id": 2}})
        assert (await health())[0] == 503  # another table that works does not hide it
        (folder / "data").unlink()
        os.rename(folder / "aside", folder / "data")
        await alice.ok("database.insert", {"table": "t", "records": {"id": 3}})
        assert (await health())[0] == 200
        async with http.get(server.url + "/metrics") as answer:
            figures = await answer.text()
        assert "meshagent_engine_processes 1.0" in figures
        assert 'meshagent_engine_losses_total{reason="crash"} 0.0' in figures
