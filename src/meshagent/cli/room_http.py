"""Access to a room over plain HTTP: file contents, and documents as JSON. Faster than joining the room."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from meshagent.cli.output import CommandError, ExitCode

if TYPE_CHECKING:
    import aiohttp

    from meshagent.cli.context import RoomAccess

CHUNK_BYTES: Final = 256 * 1024


class HttpRoom:
    """HTTP client for one room. All methods raise `CommandError`, and aiohttp's connection errors."""

    def __init__(self, session: aiohttp.ClientSession, entry: RoomAccess) -> None:
        scheme, _, rest = entry.url.partition("://")
        self._base = f"http{scheme[2:]}://{rest}" if scheme.startswith("ws") else entry.url
        self._session = session
        self._headers = {"Authorization": f"Bearer {entry.token}"}

    async def upload(self, path: str, content: AsyncIterator[bytes], size: int, *, overwrite: bool) -> None:
        """Upload a file of `size` bytes. It is stored completely or not at all."""
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        parameters = {} if overwrite else {"overwrite": "false"}
        async with self._request("PUT", f"storage/{quote(path)}", data=content, headers=headers, params=parameters):
            pass

    async def download(self, path: str) -> AsyncIterator[bytes]:
        """Yield the content of a file in chunks."""
        async with self._request("GET", f"storage/{quote(path)}") as response:
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                yield chunk

    async def document(self, path: str, *, with_ids: bool = False) -> dict[str, Any]:
        """Return a document as JSON."""
        parameters = {"ids": "true"} if with_ids else {}
        async with self._request("GET", f"documents/{quote(path)}", params=parameters) as response:
            return dict(await response.json())

    async def change_document(self, path: str, change: object) -> dict[str, Any]:
        """Apply a JSON Patch (a list) or replace the content (an object). Returns the new content."""
        async with self._request("PATCH", f"documents/{quote(path)}", json=change) as response:
            return dict(await response.json())

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        request = self._session.request(
            method, f"{self._base}/{path}", headers={**self._headers, **(headers or {})}, **options
        )
        async with request as response:
            if response.status >= 400:
                raise await _error_of(response)
            yield response


@asynccontextmanager
async def http_room(entry: RoomAccess) -> AsyncIterator[HttpRoom]:
    """Open an HTTP client for a room for the length of the block."""
    import aiohttp

    # No total timeout, because large files take long. A transfer that stalls for a minute has failed.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield HttpRoom(session, entry)


async def _error_of(response: aiohttp.ClientResponse) -> CommandError:
    """Return the error for a response, with the server's message if there is one."""
    try:
        text = (await response.json())["error"]["message"]
    except (ValueError, KeyError, TypeError, OSError):
        text = f"server returned {response.status} {response.reason}"
    codes = {
        401: ExitCode.NOT_ALLOWED,
        403: ExitCode.NOT_ALLOWED,
        404: ExitCode.NOT_FOUND,
        409: ExitCode.CONFLICT,
        412: ExitCode.CONFLICT,
        503: ExitCode.NO_CONNECTION,
    }
    return CommandError(text, code=codes.get(response.status, ExitCode.FAILED))
