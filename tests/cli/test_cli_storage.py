"""`meshagent storage`, as a process against a real server."""

from __future__ import annotations

import asyncio
from pathlib import Path

from meshagent.api.room.client import RoomClient
from meshagent.api.transport.websocket import WebSocketClientProtocol
from tests.support.command_line import CommandLine
from tests.support.server import TestServer


def joined(server: TestServer, room: str = "room") -> RoomClient:
    return RoomClient(protocol=WebSocketClientProtocol(url=server.room_url(room), token=server.token("bob", room=room)))


async def put(room: RoomClient, *paths: str) -> None:
    for path in paths:
        async with room.storage.open(path, overwrite=True) as file:
            await file.write(path.encode())


async def test_copying_both_ways_keeps_every_byte(cli: CommandLine, server: TestServer) -> None:
    content = bytes(range(256)) * 8192  # 2 MiB: more than one piece each way
    (cli.home / "up.bin").write_bytes(content)
    assert "copied 1 file\n" in (await cli("storage", "cp", "up.bin", "room://in/up.bin")).err
    await cli("storage", "cp", "room://in/up.bin", "down.bin")
    assert (cli.home / "down.bin").read_bytes() == content
    assert [path.name for path in cli.home.iterdir() if "down" in path.name] == ["down.bin"]
    refused = await cli.fails("storage", "cp", "-n", "up.bin", "room://in/up.bin", code=6)
    assert "in/up.bin" in refused
    assert "exists" in await cli.fails("storage", "cp", "-n", "room://in/up.bin", "down.bin", code=6)


async def test_folders_and_patterns_are_copied(cli: CommandLine, server: TestServer) -> None:
    async with joined(server) as room:
        await put(room, "a/1.txt", "a/2.md", "a/deep/3.txt", "b.txt")
        await asyncio.gather(
            cli("storage", "cp", "-r", "room://a", "whole"),
            cli("storage", "cp", "room://**/*.txt", "texts/"),
        )
        files = sorted(str(path.relative_to(cli.home)) for path in cli.home.rglob("*.*") if path.is_file())
        assert [name for name in files if name.startswith("whole/")] == [
            "whole/1.txt",
            "whole/2.md",
            "whole/deep/3.txt",
        ]
        assert [name for name in files if name.startswith("texts/")] == ["texts/1.txt", "texts/3.txt", "texts/b.txt"]
        await cli("storage", "cp", "-r", "whole", "texts/*.txt", "room://back/")
        assert (await room.storage.download("back/whole/deep/3.txt")).data == b"a/deep/3.txt"
        assert (await room.storage.download("back/b.txt")).data == b"b.txt"
    assert "-r" in await cli.fails("storage", "cp", "room://a", "again", code=2)
    assert "no such file" in await cli.fails("storage", "cp", "missing*", "room://x", code=3)


async def test_from_room_to_room_when_no_option_names_one(cli: CommandLine, server: TestServer) -> None:
    async with joined(server, "first") as room:
        await put(room, "x.txt")
    await cli("storage", "cp", "room://first/x.txt", "room://second/y.txt", env={"MESHAGENT_ROOM": ""})
    async with joined(server, "second") as room:
        assert (await room.storage.download("y.txt")).data == b"x.txt"


async def test_listing_in_lines_and_as_json(cli: CommandLine, server: TestServer) -> None:
    async with joined(server) as room:
        await put(room, "a/1.txt", "a/2.md", "b.txt", ".hidden/x")
    plain, deep, everything, pattern = await asyncio.gather(
        cli("storage", "ls"),
        cli("room", "storage", "ls", "-r", "--json"),
        cli("storage", "ls", "-a"),
        cli("storage", "ls", "room://*/*.md"),
    )
    assert [row[:3] for row in plain.rows] == [["a", "folder", ""], ["b.txt", "file", "5"]]
    assert [entry["path"] for entry in deep.json] == ["a", "a/1.txt", "a/2.md", "b.txt"]
    assert deep.json[1]["size"] == 7
    assert ".hidden" in [row[0] for row in everything.rows]
    assert [row[0] for row in pattern.rows] == ["a/2.md"]
    assert "no such file or folder: 'nowhere'" in await cli.fails("storage", "ls", "nowhere", code=3)


async def test_showing_asking_moving_deleting(cli: CommandLine, server: TestServer) -> None:
    async with joined(server) as room:
        await put(room, "a/1.txt", "a/2.txt", "b.txt")
        shown, there, gone = await asyncio.gather(
            cli("storage", "show", "room://a/1.txt"),
            cli("storage", "exists", "a/1.txt"),
            cli("storage", "exists", "nope", code=3),
        )
        assert (shown.out, there.out, gone.out) == ("a/1.txt", "true\n", "false\n")
        await cli("storage", "mv", "b.txt", "c.txt")
        assert not await room.storage.exists("b.txt")
        url = (await cli("storage", "url", "c.txt")).out
        assert url.startswith(server.url)
        assert "folder" in await cli.fails("storage", "rm", "a", code=2)
        await asyncio.gather(cli("storage", "rm", "-r", "a"), cli("storage", "rm", "-f", "nope", "c.*"))
        assert [entry.name for entry in await room.storage.list("") if not entry.name.startswith(".")] == []
    refusals = await asyncio.gather(
        cli.fails("storage", "show", "nope", code=3),
        cli.fails("storage", "rm", "nope", code=3),
        cli.fails("storage", "mv", "nope", "x", code=3),
        cli.fails("storage", "url", "nope", code=3),
    )
    assert all("error:" in refusal for refusal in refusals)


async def test_a_download_leaves_nothing_half_written(cli: CommandLine, tmp_path: Path) -> None:
    await cli.fails("storage", "cp", "room://missing.bin", "out.bin", code=3)
    assert not (cli.home / "out.bin").exists()
