"""A room over plain HTTP: file contents and documents as JSON, for which joining would be a detour."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from meshagent.cli.output import CommandError, ExitCode

if TYPE_CHECKING:
    import aiohttp

    from meshagent.cli.context import Entry

CHUNK_BYTES: Final = 256 * 1024


class HttpRoom:
    """The HTTP addresses of one room; errors of all methods are `CommandError` and aiohttp's connection errors."""

    def __init__(self, session: aiohttp.ClientSession, entry: Entry) -> None:
        scheme, _, rest = entry.url.partition("://")
        self._base = f"http{scheme[2:]}://{rest}" if scheme.startswith("ws") else entry.url
        self._session = session
        self._headers = {"Authorization": f"Bearer {entry.token}"}

    async def upload(self, path: str, content: AsyncIterator[bytes], size: int, *, overwrite: bool) -> None:
        """Store a file of `size` bytes: all of it, or nothing."""
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        parameters = {} if overwrite else {"overwrite": "false"}
        async with self._request("PUT", f"storage/{quote(path)}", data=content, headers=headers, params=parameters):
            pass

    async def download(self, path: str) -> AsyncIterator[bytes]:
        """The pieces of a file, as they come."""
        async with self._request("GET", f"storage/{quote(path)}") as answer:
            async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
                yield chunk

    async def document(self, path: str, *, with_ids: bool = False) -> dict[str, Any]:
        """A document as JSON."""
        parameters = {"ids": "true"} if with_ids else {}
        async with self._request("GET", f"documents/{quote(path)}", params=parameters) as answer:
            return dict(await answer.json())

    async def change_document(self, path: str, change: object) -> dict[str, Any]:
        """Apply a JSON Patch (a list), or replace the content (an object); returns the document as it is then."""
        async with self._request("PATCH", f"documents/{quote(path)}", json=change) as answer:
            return dict(await answer.json())

    @asynccontextmanager
    async def _request(
        self, method: str, place: str, *, headers: dict[str, str] | None = None, **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        request = self._session.request(
            method, f"{self._base}/{place}", headers={**self._headers, **(headers or {})}, **options
        )
        async with request as answer:
            if answer.status >= 400:
                raise await _refusal(answer)
            yield answer


@asynccontextmanager
async def http_room(entry: Entry) -> AsyncIterator[HttpRoom]:
    """The room for the length of the block."""
    import aiohttp

    # No bound on the whole: a large file takes its time. One that stalls for a minute has failed.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield HttpRoom(session, entry)


async def _refusal(answer: aiohttp.ClientResponse) -> CommandError:
    """What the server said, in its words where it has some."""
    try:
        text = (await answer.json())["error"]["message"]
    except (ValueError, KeyError, TypeError, OSError):
        text = f"the server answered {answer.status} {answer.reason}"
    codes = {
        401: ExitCode.NOT_ALLOWED,
        403: ExitCode.NOT_ALLOWED,
        404: ExitCode.NOT_FOUND,
        409: ExitCode.CONFLICT,
        412: ExitCode.CONFLICT,
        503: ExitCode.NO_CONNECTION,
    }
    return CommandError(text, code=codes.get(answer.status, ExitCode.FAILED))
