"""The HTTP side door of storage, over real sockets, with files on a disk and in memory."""

from __future__ import annotations

import asyncio
import io
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from meshagent.api.errors import PermissionDeniedError
from meshagent.api.tokens.grants import StorageGrant, StoragePathGrant
from meshagent.api.tokens.scope import FULL_ROOM_SCOPE, ApiScope
from meshagent.api.tokens.token import ParticipantToken
from meshagent.server.gateway.auth import request_token
from meshagent.server.gateway.file_routes import FileRooms, FileRoutes
from meshagent.server.gateway.http_errors import error_middleware
from meshagent.server.kernel.admission import Admission
from meshagent.server.kernel.room_key import RoomKey
from meshagent.server.kernel.url_signing import UrlSigner
from meshagent.server.rooms.handle import FileAccess
from meshagent.server.rooms.local.files import LocalFiles
from meshagent.server.services.storage import StorageService
from meshagent.server.stores.files import FileStore
from meshagent.server.stores.local_files import LocalFileStores
from meshagent.server.stores.memory_files import MemoryFileStore
from tests.support.fake_room import FakeRoom
from tests.support.stores import FaultyDisk, disk_full

ROOT = "/rooms/room/storage"
BIG = os.urandom(1024) * 3000 + b"end"  # more than a socket takes at once, and no whole number of chunks


@dataclass
class RoomOfFiles:
    files: FileAccess


class FakeRooms(FileRooms):
    """Lets in whoever has the token `good`, with `scope`."""

    def __init__(self, storage: StorageService) -> None:
        self.room = RoomOfFiles(LocalFiles(storage))
        self.scope: ApiScope = FULL_ROOM_SCOPE
        self.held: list[RoomKey] = []

    @asynccontextmanager
    async def visit(self, request: web.Request) -> AsyncIterator[tuple[Admission, RoomOfFiles]]:
        if request_token(request) != "good":
            raise PermissionDeniedError("no token")
        token = ParticipantToken(name="alice")
        admission = Admission(
            project_id="project", key_id=None, name="alice", role="user", scope=self.scope, token=token
        )
        yield admission, self.room

    @asynccontextmanager
    async def hold(self, key: RoomKey) -> AsyncIterator[RoomOfFiles]:
        self.held.append(key)
        yield self.room


class Side:
    """A server with the routes, and a client with a token."""

    def __init__(self, files: FileStore) -> None:
        self.room = FakeRoom()
        self.alice = self.room.join()
        self.time = 1000.0
        self.signer = UrlSigner(b"secret", now=lambda: self.time)
        self.storage = StorageService(
            self.room,
            files,
            sign_url=lambda path, download: self.signer.sign("project", "room", path, download=download),
            max_file_bytes=len(BIG),
        )
        self.rooms = FakeRooms(self.storage)
        app = web.Application(middlewares=[error_middleware])
        app.add_routes(FileRoutes(self.rooms, self.signer, self.room_name).routes())
        self.client: TestClient[Any, Any] = TestClient(TestServer(app), headers={"Authorization": "Bearer good"})

    async def room_name(self, project_id: str, room_id: str) -> str | None:
        return room_id

    async def put(self, path: str, content: bytes = b"content", **query: str) -> ClientResponse:
        return await self.client.put(f"{ROOT}/{path}", data=io.BytesIO(content), params=query)

    async def get(self, path: str, **headers: str) -> tuple[ClientResponse, bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.get(f"{ROOT}/{path}", headers=named) as answer:
            return answer, await answer.read()

    async def stored(self, path: str) -> bytes | None:
        return await self.storage.read_file(path)


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture(params=["disk", "memory"])
async def side(request: pytest.FixtureRequest, tmp_path: Path, disk: FaultyDisk) -> AsyncIterator[Side]:
    stores = LocalFileStores(tmp_path / "files", disk=disk.disk)
    await stores.start()
    files = MemoryFileStore() if request.param == "memory" else await stores.open("project", "room")
    served = Side(files)
    async with served.client:
        yield served
    await served.storage.close()
    await stores.close()


async def error_of(answer: ClientResponse) -> tuple[int, str]:
    return answer.status, (await answer.json())["error"]["code"]


class TestUpload:
    async def test_the_body_becomes_a_file_and_everybody_hears_of_it(self, side: Side) -> None:
        answer = await side.put("a/b c.txt", b"hello")
        assert answer.status == 201
        entry = await answer.json()
        assert (entry["path"], entry["name"], entry["size"]) == ("a/b c.txt", "b c.txt", 5)
        assert (await side.get("a/b c.txt", If_None_Match=answer.headers["ETag"]))[0].status == 304
        assert await side.stored("a/b c.txt") == b"hello"
        assert [event.header for event in side.room.events] == [{"path": "a/b c.txt", "participant_id": None}]

    @pytest.mark.parametrize("content", [b"", BIG], ids=["empty", "big"])
    async def test_any_size_arrives_whole(self, side: Side, content: bytes) -> None:
        assert (await side.put("a.bin", content)).status == 201
        assert await side.stored("a.bin") == content

    async def test_a_body_of_unknown_length(self, side: Side) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(BIG), 100_000):
                yield BIG[start : start + 100_000]

        assert (await side.client.put(f"{ROOT}/a.bin", data=pieces())).status == 201
        assert await side.stored("a.bin") == BIG

    async def test_a_broken_upload_leaves_the_old_file(self, side: Side) -> None:
        await side.put("a.txt", b"old")
        server = side.client.server
        reader, writer = await asyncio.open_connection(server.host, server.port)
        head = f"PUT {ROOT}/a.txt HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\nContent-Length: 9\r\n\r\n"
        writer.write(head.encode() + b"half")
        writer.write_eof()
        await reader.read()
        writer.close()
        await writer.wait_closed()
        assert await side.stored("a.txt") == b"old"
        assert len(side.room.events) == 1

    async def test_replacing_can_be_ruled_out(self, side: Side) -> None:
        await side.put("a.txt", b"old")
        assert await error_of(await side.put("a.txt", b"new", overwrite="false")) == (409, "already_exists")
        answer = await side.client.put(f"{ROOT}/a.txt", data=b"new", headers={"If-None-Match": "*"})
        assert await error_of(answer) == (412, "already_exists")
        assert await side.stored("a.txt") == b"old"
        assert (await side.put("a.txt", b"new")).status == 201
        assert await side.stored("a.txt") == b"new"

    @pytest.mark.parametrize("announced", [True, False])
    async def test_a_file_that_is_too_large_is_413(self, side: Side, announced: bool) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            yield BIG
            yield b"x"

        answer = await side.client.put(f"{ROOT}/a.bin", data=io.BytesIO(BIG + b"x") if announced else pieces())
        assert await error_of(answer) == (413, "limit_exceeded")
        assert await side.stored("a.bin") is None

    @pytest.mark.parametrize("side", ["disk"], indirect=True)
    async def test_a_full_disk_is_507(self, side: Side, disk: FaultyDisk) -> None:
        disk.write_error = disk_full()
        assert await error_of(await side.put("a.bin", BIG)) == (507, "store_failed")
        disk.write_error = None
        assert await side.stored("a.bin") is None

    async def test_paths_that_are_none(self, side: Side) -> None:
        await side.put("folder/file")
        assert await error_of(await side.put("folder")) == (409, "conflict")
        assert await error_of(await side.put("a%5Cb")) == (400, "invalid_request")
        assert await error_of(await side.put("a.txt", overwrite="perhaps")) == (400, "invalid_request")


class TestDownload:
    @pytest.mark.parametrize("content", [b"", b"hello", BIG], ids=["empty", "small", "big"])
    async def test_what_was_stored_comes_back(self, side: Side, content: bytes) -> None:
        await side.put("a.txt", content)
        answer, body = await side.get("a.txt")
        assert (answer.status, body) == (200, content)
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.headers["Content-Length"] == str(len(content))
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        _, body = await side.get("a.txt")  # the connection is still good
        assert body == content

    async def test_head_says_the_same_without_the_body(self, side: Side) -> None:
        await side.put("a.bin", BIG)
        full, _ = await side.get("a.bin")
        async with side.client.head(f"{ROOT}/a.bin") as answer:
            assert (answer.status, await answer.read()) == (200, b"")
            for name in ("Content-Length", "Content-Type", "ETag", "Last-Modified"):
                assert answer.headers[name] == full.headers[name]

    @pytest.mark.parametrize("size", [1000, len(BIG)])
    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ("bytes=0-0", slice(0, 1)),
            ("bytes=10-19", slice(10, 20)),
            ("bytes=990-", slice(990, None)),
            ("bytes=-7", slice(-7, None)),
            ("bytes=5-99999999999", slice(5, None)),
            ("bytes=-99999999999", slice(0, None)),
        ],
    )
    async def test_a_range(self, side: Side, size: int, asked: str, expected: slice) -> None:
        content = BIG[:size]
        await side.put("a.bin", content)
        answer, body = await side.get("a.bin", Range=asked)
        start, stop, _ = expected.indices(size)
        assert (answer.status, body) == (206, content[expected])
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"

    @pytest.mark.parametrize("asked", ["bytes=10-", "bytes=99-100", "bytes=-0"])
    async def test_a_range_outside_the_file_is_416(self, side: Side, asked: str) -> None:
        await side.put("a.bin", b"0123456789")
        answer, _ = await side.get("a.bin", Range=asked)
        assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */10")

    @pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=0-1,4-5", "lines=1-2", "bytes=-", "bytes=a-b"])
    async def test_what_is_no_single_range_gives_the_whole_file(self, side: Side, asked: str) -> None:
        await side.put("a.bin", b"0123456789")
        answer, body = await side.get("a.bin", Range=asked)
        assert (answer.status, body) == (200, b"0123456789")

    async def test_validators(self, side: Side) -> None:
        await side.put("a.txt", b"one")
        answer, _ = await side.get("a.txt")
        etag, modified = answer.headers["ETag"], answer.headers["Last-Modified"]
        assert (await side.get("a.txt", If_None_Match=etag))[0].status == 304
        assert (await side.get("a.txt", If_None_Match='"other"', If_Modified_Since=modified))[0].status == 200
        assert (await side.get("a.txt", If_Modified_Since=modified))[0].status == 304
        assert (await side.get("a.txt", Range="bytes=0-0", If_Range=etag))[0].status == 206
        assert (await side.get("a.txt", Range="bytes=0-0", If_Range=modified))[0].status == 206
        await side.put("a.txt", b"two!")
        assert (await side.get("a.txt", If_None_Match=etag))[0].status == 200
        assert (await side.get("a.txt", Range="bytes=0-0", If_Range=etag))[0].status == 200

    async def test_two_contents_of_one_size_written_at_once_have_two_etags(self, side: Side) -> None:
        etags = set()
        for content in (b"one", b"two", b"six"):
            await side.put("a.txt", content)
            etags.add((await side.get("a.txt"))[0].headers["ETag"])
        assert len(etags) == 3

    @pytest.mark.parametrize(
        ("name", "sandboxed"), [("a.html", True), ("a.svg", True), ("a.xml", True), ("a.png", False)]
    )
    async def test_pages_cannot_act_in_the_name_of_the_server(self, side: Side, name: str, sandboxed: bool) -> None:
        await side.put(name)
        answer, _ = await side.get(name)
        assert answer.headers.get("Content-Security-Policy", "").startswith("sandbox;") == sandboxed

    async def test_a_download_is_saved_under_its_name(self, side: Side) -> None:
        await side.put('é"x.txt')
        async with side.client.get(f'{ROOT}/é"x.txt', params={"download": ""}) as answer:
            disposition = answer.headers["Content-Disposition"]
        assert disposition == "attachment; filename=\"__x.txt\"; filename*=UTF-8''%C3%A9%22x.txt"

    @pytest.mark.parametrize("path", ["", "/", "/folder", "/folder/"])
    async def test_a_folder_is_listed(self, side: Side, path: str) -> None:
        await side.put("folder/file.txt")
        async with side.client.get(ROOT + path) as answer:
            files = (await answer.json())["files"]
        assert [entry["name"] for entry in files] == ["file.txt" if "folder" in path else "folder"]

    async def test_a_missing_file_is_404(self, side: Side) -> None:
        answer = await side.client.get(f"{ROOT}/no.txt")
        assert await error_of(answer) == (404, "not_found")

    async def test_a_reader_that_leaves_early_harms_nobody(self, side: Side, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        await side.put("a.bin", BIG)
        for _ in range(3):
            answer = await side.client.get(f"{ROOT}/a.bin")
            await answer.content.readexactly(10)
            answer.close()
        assert (await side.get("a.bin"))[1] == BIG
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

    async def test_a_file_replaced_while_it_is_read_stays_whole(self, side: Side) -> None:
        await side.put("a.bin", BIG)
        async with side.client.get(f"{ROOT}/a.bin") as answer:
            first = await answer.content.readexactly(10)
            await side.storage.write_file("a.bin", b"new")
            assert first + await answer.read() == BIG
        assert (await side.get("a.bin"))[1] == b"new"


class TestDeleteAndMove:
    async def test_delete(self, side: Side) -> None:
        await side.put("a/b.txt")
        assert await error_of(await side.client.delete(f"{ROOT}/a")) == (409, "conflict")
        assert (await side.client.delete(f"{ROOT}/a/b.txt")).status == 204
        assert await error_of(await side.client.delete(f"{ROOT}/a/b.txt")) == (404, "not_found")
        await side.put("a/c.txt")
        assert (await side.client.delete(f"{ROOT}/a?recursive=true")).status == 204
        assert not await side.storage.exists("a")

    async def test_move(self, side: Side) -> None:
        await side.put("a.txt", b"x")
        change = {"source_path": "a.txt", "destination_path": "b/c.txt"}
        assert (await side.client.post(f"{ROOT}:move", json=change)).status == 204
        assert await side.stored("b/c.txt") == b"x"
        assert await error_of(await side.client.post(f"{ROOT}:move", json=change)) == (404, "not_found")
        assert await error_of(await side.client.post(f"{ROOT}:move", data=b"no")) == (400, "invalid_request")


class TestAccess:
    async def test_without_a_token_nothing_opens(self, side: Side) -> None:
        await side.put("a.txt")
        bad = {"Authorization": "Bearer bad"}
        for method, path in [
            ("GET", "/a.txt"),
            ("PUT", "/b.txt"),
            ("DELETE", "/a.txt"),
            ("POST", ":move"),
            ("GET", ""),
        ]:
            answer = await side.client.request(method, ROOT + path, headers=bad)
            assert await error_of(answer) == (403, "permission_denied")
        assert await side.stored("a.txt") is not None

    async def test_grants_hold_here_too(self, side: Side) -> None:
        await side.put("open/a.txt")
        await side.put("closed/a.txt")
        rules = [StoragePathGrant(path="open", read_only=True)]
        side.rooms.scope = ApiScope(storage=StorageGrant(paths=rules))
        assert (await side.get("open/a.txt"))[0].status == 200
        assert (await side.get("open/"))[0].status == 200
        move = {"source_path": "open/a.txt", "destination_path": "open/b.txt"}
        for answer in [
            (await side.get("closed/a.txt"))[0],
            (await side.get("closed/"))[0],
            (await side.get(""))[0],
            await side.put("open/b.txt"),
            await side.client.delete(f"{ROOT}/open/a.txt"),
            await side.client.post(f"{ROOT}:move", json=move),
        ]:
            assert answer.status == 403
        assert await side.stored("open/a.txt") is not None
        assert await side.stored("open/b.txt") is None


class TestSignedUrls:
    @pytest.mark.parametrize("download", [True, False])
    async def test_a_signed_url_needs_no_token(self, side: Side, download: bool) -> None:
        await side.put("a/b c.html", b"0123456789")
        url = side.signer.sign("project", "room", "a/b c.html", download=download)
        headers = {"Authorization": "", "Range": "bytes=2-4"}
        async with side.client.get(url, headers=headers) as answer:
            assert (answer.status, await answer.read()) == (206, b"234")
            assert answer.headers["Content-Disposition"].startswith("attachment" if download else "inline")
            assert answer.headers["Content-Security-Policy"].startswith("sandbox")
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert side.rooms.held == [RoomKey("project", "room")]

    async def test_a_url_that_is_changed_or_old_is_refused(self, side: Side) -> None:
        await side.put("a.txt")
        url = side.signer.sign("project", "room", "a.txt", download=False)
        changed = url[:10] + ("A" if url[10] != "A" else "B") + url[11:]
        assert await error_of(await side.client.get(changed)) == (403, "permission_denied")
        side.time += 3600
        assert await error_of(await side.client.get(url)) == (403, "permission_denied")
        assert side.rooms.held == []

    async def test_a_file_that_went_is_404(self, side: Side) -> None:
        url = side.signer.sign("project", "room", "a.txt", download=False)
        assert await error_of(await side.client.get(url)) == (404, "not_found")
