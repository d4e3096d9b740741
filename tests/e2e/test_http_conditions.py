"""Conditions of HTTP requests (RFC 9110 13) on files, documents and the REST API of a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime

import aiohttp
import pytest
from multidict import CIMultiDictProxy

from meshagent.testing import RoomServer
from tests.e2e.test_wire_documents import edit
from tests.support.documents import Copy
from tests.support.server import rooms_ended
from tests.support.wire_client import join

DATE = "Last-Modified"


class Http:
    """A client of one room's HTTP routes; answers are status, headers and text."""

    def __init__(self, session: aiohttp.ClientSession, server: RoomServer) -> None:
        self._session = session
        self._root = f"{server.url}/rooms/room"

    async def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, CIMultiDictProxy[str], str]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.request(method, f"{self._root}/{path}", data=body, headers=named) as answer:
            return answer.status, answer.headers, await answer.text(errors="replace")

    async def status(self, method: str, path: str, body: bytes | None = None, **headers: str) -> int:
        return (await self.ask(method, path, body, **headers))[0]

    async def etag(self, path: str) -> str:
        _, headers, _ = await self.ask("GET", path)
        return headers["ETag"]


@asynccontextmanager
async def client(server: RoomServer) -> AsyncIterator[Http]:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {server.token()}"}) as session:
        yield Http(session, server)


@pytest.fixture
async def http(server: RoomServer) -> AsyncIterator[Http]:
    async with client(server) as made:
        yield made


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_change_is_made_only_to_the_version_that_it_names(http: Http, method: str) -> None:
    _, headers, _ = await http.ask("PUT", "storage/a.txt", b"one")
    first = headers["ETag"]
    assert await http.status("PUT", "storage/a.txt", b"two") == 201
    second = await http.etag("storage/a.txt")
    for refused in (first, f"W/{second}", '"*"', f"{first}, W/{second}"):
        assert await http.status(method, "storage/a.txt", b"three", If_Match=refused) == 412
    assert await http.status(method, "storage/a.txt", b"three", If_None_Match=second) == 412
    assert await http.status(method, "storage/a.txt", b"three", If_None_Match=f"{first}, W/{second}") == 412
    assert await http.status(method, "storage/a.txt", b"three", If_None_Match="*") == 412
    assert (await http.ask("GET", "storage/a.txt"))[2] == "two"
    assert (
        await http.status(method, "storage/a.txt", b"three", If_Match=f"{first}, {second}", If_None_Match=first) < 300
    )
    left = {"PUT": "three", "DELETE": None}[method]
    status, _, text = await http.ask("GET", "storage/a.txt")
    assert (text if status == 200 else None) == left


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_change_is_made_only_if_nothing_changed_since_a_time(http: Http, method: str) -> None:
    await http.ask("PUT", "storage/a.txt", b"one")
    _, headers, _ = await http.ask("GET", "storage/a.txt")
    changed = parsedate_to_datetime(headers[DATE])
    before = format_datetime(changed - timedelta(seconds=1), usegmt=True)
    etag = headers["ETag"]
    assert await http.status(method, "storage/a.txt", b"two", If_Unmodified_Since=before) == 412
    assert await http.status(method, "storage/a.txt", b"two", If_Match='"x"', If_Unmodified_Since=headers[DATE]) == 412
    assert (await http.ask("GET", "storage/a.txt"))[2] == "one"
    assert await http.status(method, "storage/a.txt", b"two", If_Match=etag, If_Unmodified_Since=before) < 300


async def test_a_date_that_is_none_counts_as_absent_but_tags_that_are_none_are_refused(http: Http) -> None:
    assert await http.status("PUT", "storage/a.txt", b"one", If_Unmodified_Since="soon") == 201
    for header in ("If-Match", "If-None-Match"):
        assert await http.status("PUT", "storage/a.txt", b"two", **{header: "1a-2b"}) == 400
    assert (await http.ask("GET", "storage/a.txt"))[2] == "one"


async def test_what_is_not_there_matches_nothing(http: Http) -> None:
    for tags in ("*", '"a"'):
        assert await http.status("PUT", "storage/new.txt", b"one", If_Match=tags) == 412
        assert await http.status("DELETE", "storage/new.txt", If_Match=tags) == 404
    assert await http.status("GET", "storage/new.txt") == 404
    assert await http.status("PUT", "storage/new.txt", b"one", If_None_Match="*") == 201


async def test_of_many_writers_who_saw_one_version_one_wins(http: Http) -> None:
    await http.ask("PUT", "storage/a.txt", b"0")
    etag = await http.etag("storage/a.txt")
    changes = [http.ask("PUT", "storage/a.txt", str(number).encode(), If_Match=etag) for number in range(20)]
    changes += [http.ask("DELETE", "storage/a.txt", If_Match=etag) for _ in range(5)]
    answers = await asyncio.gather(*changes)
    made = [number for number, (status, _, _) in enumerate(answers) if status < 300]
    assert len(made) == 1
    assert {status for status, _, _ in answers} <= {201, 204, 412, 404}
    status, _, text = await http.ask("GET", "storage/a.txt")
    assert (status, text if status == 200 else "") in {(200, str(made[0])), (404, "")}


async def test_reading_and_ranges_take_conditions(http: Http) -> None:
    await http.ask("PUT", "storage/a.txt", b"0123456789")
    _, headers, _ = await http.ask("GET", "storage/a.txt")
    etag, changed = headers["ETag"], headers[DATE]
    before = format_datetime(parsedate_to_datetime(changed) - timedelta(seconds=1), usegmt=True)
    assert (await http.ask("GET", "storage/a.txt", If_Match=etag, Range="bytes=2-3"))[2] == "23"
    for method in ("GET", "HEAD"):
        assert await http.status(method, "storage/a.txt", If_Match='"other"', Range="bytes=2-3") == 412
        assert await http.status(method, "storage/a.txt", If_Match=f"W/{etag}") == 412
        assert await http.status(method, "storage/a.txt", If_Unmodified_Since=before) == 412
        assert await http.status(method, "storage/a.txt", If_Match=etag, If_None_Match=etag) == 304
        assert await http.status(method, "storage/a.txt", If_Match='"other"', If_None_Match=etag) == 412


async def test_a_part_is_not_stored_as_the_whole(http: Http, server: RoomServer) -> None:
    await http.ask("PUT", "storage/a.txt", b"whole")
    assert await http.status("PUT", "storage/a.txt", b"ho", Content_Range="bytes 1-2/5") == 400
    assert (await http.ask("GET", "storage/a.txt"))[2] == "whole"
    assert await http.status("POST", "storage:move", b"{}", If_Match="*") == 400
    room = f"{server.url}/accounts/projects/{server.project_id}/rooms/room"
    headers = {"Authorization": f"Bearer {server.admin_token}", "Content-Range": "bytes 0-1/2"}
    async with aiohttp.ClientSession() as session:
        async with session.put(room, json={"name": "other"}, headers=headers) as answer:
            assert answer.status == 400
        async with session.delete(room, headers={**headers, "If-Match": '"a"'}) as answer:
            assert answer.status == 400
    assert (await http.ask("GET", "storage/a.txt"))[2] == "whole"


async def test_a_file_that_is_a_document_counts_the_edits_of_the_document(http: Http, server: RoomServer) -> None:
    async with join(server) as alice:
        copy = Copy((await alice.open_document("a.document"))[1])
        await edit(alice, "a.document", copy.append("heading", **{"$id": "x", "text": "one"}))
        etag = await http.etag("storage/a.document")
        await edit(alice, "a.document", copy.append("heading", **{"$id": "y", "text": "two"}))
        assert await http.status("DELETE", "storage/a.document", If_Match=etag) == 412
        assert await http.status("PUT", "storage/a.document", b"", If_Match=etag) == 412
        content = (await http.ask("GET", "documents/a.document"))[2]
        assert "one" in content
        assert "two" in content


async def test_a_document_is_patched_only_in_the_state_that_was_read(http: Http, server: RoomServer) -> None:
    path, patch = (
        "documents/a.document",
        b'[{"op": "add", "path": "/document/content/-", "value": {"body": {"text": "b"}}}]',
    )
    async with join(server) as alice:
        copy = Copy((await alice.open_document("a.document"))[1])
        await edit(alice, "a.document", copy.append("heading", **{"$id": "x", "text": "one"}))
        old, with_ids = await http.etag(path), await http.etag(f"{path}?ids=true")
        assert old != with_ids
        assert await http.status("GET", path, If_None_Match=old) == 304
        assert await http.status("GET", f"{path}?ids=true", If_None_Match=old) == 200
        assert await http.status("GET", path, If_Match='"other"') == 412
        await edit(alice, "a.document", copy.append("heading", **{"$id": "y", "text": "two"}))
        for tags in (old, with_ids, '"other"'):
            assert await http.status("PATCH", path, patch, If_Match=tags) == 412
        new, with_ids = await http.etag(path), await http.etag(f"{path}?ids=true")
        assert await http.status("PATCH", path, patch, If_None_Match=new) == 412
        status, headers, text = await http.ask("PATCH", path, patch, If_Match=with_ids)
        assert (status, text.count('"body"')) == (200, 1)
        assert headers["ETag"] == await http.etag(path) != new


async def test_of_many_patches_of_one_state_one_wins(http: Http, server: RoomServer) -> None:
    path, patch = (
        "documents/a.document",
        b'[{"op": "add", "path": "/document/content/-", "value": {"body": {"text": "b"}}}]',
    )
    async with join(server) as alice:
        await alice.open_document("a.document")
        etag = await http.etag(path)
        statuses = await asyncio.gather(*(http.status("PATCH", path, patch, If_Match=etag) for _ in range(10)))
        assert sorted(statuses) == [200, *[412] * 9]
        assert (await http.ask("GET", path))[2].count('"body"') == 1


async def test_the_etag_of_a_document_outlives_its_room(http: Http, server: RoomServer) -> None:
    async with join(server) as alice:
        copy = Copy((await alice.open_document("a.document"))[1])
        await edit(alice, "a.document", copy.append("heading", **{"$id": "x", "text": "one"}))
        etag = await http.etag("documents/a.document")
    await rooms_ended(server)
    assert await http.etag("documents/a.document") == etag
