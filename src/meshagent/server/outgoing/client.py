"""The HTTP client of the server: every request passes the policy, and connects to the address that was checked."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from types import TracebackType
from typing import Final, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from meshagent.api.errors import LimitExceededError, RequestTimeoutError, RoomException, UnavailableError
from meshagent.api.version import __version__
from meshagent.server.config import OutgoingSettings
from meshagent.server.outgoing.policy import OutgoingPolicy, OutgoingRefusedError

MAX_REDIRECTS: Final = 5
MAX_CONNECTIONS: Final = 100
CHUNK_BYTES: Final = 256 * 1024
_MAX_SECONDS_DIGITS: Final = 12  # some 30,000 years


class HttpStatusError(RoomException):
    """The other side answered with a status that is no success."""

    code = "http_status"

    def __init__(self, url: str, status: int, *, retry_after: float | None = None) -> None:
        """With the seconds to wait that the answer's `Retry-After` asks for, if it has one."""
        super().__init__(f"{url} answered with status {status}")
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Download:
    """An answer whose bytes are still to come.

    Attributes:
        mime_type: As the other side says.
        chunks: The bytes, each piece `CHUNK_BYTES` at most.
    """

    mime_type: str
    chunks: AsyncIterator[bytes]


class OutgoingClient:
    """Makes the server's own requests; use it as an async context manager, one for the whole server."""

    def __init__(self, settings: OutgoingSettings) -> None:
        self._policy = OutgoingPolicy(settings)
        self._timeout = settings.timeout
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # Without a cache of names: what is connected to is what was checked, not what was checked some time ago.
        connector = aiohttp.TCPConnector(
            resolver=_CheckedResolver(self._policy), use_dns_cache=False, limit=MAX_CONNECTIONS
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            headers={"User-Agent": f"openmeshagent/{__version__}"},
        )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Post a body, without following redirects and without reading the answer's body.

        Raises:
            HttpStatusError: The answer's status is not 2xx.
            OutgoingRefusedError: The settings do not allow the URL.
            RequestTimeoutError, UnavailableError: There was no answer; the text names the URL and the reason.
            InvalidRequestError: It is not an http URL.
        """
        target = self._policy.check_url(url)
        content = io.BytesIO(body)  # large ones go out in pieces
        with _readable_errors(url, self._timeout):
            async with self._open_session().post(
                target, data=content, headers=headers, allow_redirects=False
            ) as answer:
                status, retry_after = answer.status, answer.headers.get("Retry-After")
        if not 200 <= status < 300:
            raise HttpStatusError(url, status, retry_after=parse_retry_after(retry_after))

    async def check(self, url: str) -> None:
        """Return if a GET of `url` is answered with 2xx; errors as `post`."""
        target = self._policy.check_url(url)
        with _readable_errors(url, self._timeout):
            async with self._open_session().get(target, allow_redirects=False) as answer:
                status = answer.status
        if not 200 <= status < 300:
            raise HttpStatusError(url, status)

    @asynccontextmanager
    async def get(self, url: str, *, max_bytes: int) -> AsyncIterator[Download]:
        """Fetch a URL, following `MAX_REDIRECTS` redirects at most, each of which passes the policy.

        Raises:
            LimitExceededError: There are more than `max_bytes`; also while the chunks are read.
            Exception: As `post`.
        """
        target = self._policy.check_url(url)
        for _ in range(MAX_REDIRECTS + 1):
            with _readable_errors(url, self._timeout):
                answer = await self._open_session().get(target, allow_redirects=False)
            try:
                location = answer.headers.get("Location")
                if answer.status in (301, 302, 303, 307, 308) and location is not None:
                    target = self._policy.check_url(str(target.join(URL(location))))
                    continue
                if not 200 <= answer.status < 300:
                    raise HttpStatusError(url, answer.status)
                yield Download(answer.content_type, self._chunks(url, answer, max_bytes))
                return
            finally:
                answer.close()
        raise UnavailableError(f"{url} redirects more than {MAX_REDIRECTS} times")

    async def _chunks(self, url: str, answer: aiohttp.ClientResponse, max_bytes: int) -> AsyncIterator[bytes]:
        size = 0
        with _readable_errors(url, self._timeout):
            async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
                size += len(chunk)
                if size > max_bytes:
                    raise LimitExceededError(f"{url} has more than {max_bytes} bytes", limit=max_bytes)
                yield chunk

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise UnavailableError("cannot send requests while the server is starting or stopping")
        return self._session


def parse_retry_after(text: str | None, *, now: float | None = None) -> float | None:
    """The wait in seconds that a `Retry-After` header asks for (RFC 9110 section 10.2.3); None if it says nothing.

    Args:
        text: Seconds, or an HTTP date.
        now: The time in seconds since 1970, with which a date is compared.
    """
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:_MAX_SECONDS_DIGITS])
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError, TypeError):  # what it raises differs with what is wrong
        return None
    if until.tzinfo is None:  # "-0000" stands for UTC, too
        until = until.replace(tzinfo=UTC)
    return max(until.timestamp() - (time.time() if now is None else now), 0.0)


class _CheckedResolver(AbstractResolver):
    """Resolves names to those addresses that may be called."""

    def __init__(self, policy: OutgoingPolicy) -> None:
        self._policy = policy
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        allowed: list[ResolveResult] = []
        refusal: OutgoingRefusedError | None = None
        for found in await self._resolver.resolve(host, port, family):
            try:
                self._policy.check_address(host, ip_address(found["host"].partition("%")[0]))
                allowed.append(found)
            except OutgoingRefusedError as error:
                refusal = error
        if not allowed and refusal is not None:
            raise refusal
        return allowed

    async def close(self) -> None:
        await self._resolver.close()


@contextmanager
def _readable_errors(url: str, timeout: float) -> Iterator[None]:
    """Turns what a request can fail with into errors that name the URL."""
    try:
        yield
    except TimeoutError:
        raise RequestTimeoutError(f"{url} did not answer within {timeout} seconds") from None
    except (aiohttp.ClientError, OSError) as error:
        raise UnavailableError(f"cannot reach {url}: {str(error) or type(error).__name__}") from None
