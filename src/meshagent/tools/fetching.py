"""Web pages and files fetched within limits: size, time, redirects, and addresses that may be reached."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from pathlib import PurePosixPath
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from meshagent.api.errors import (
    InvalidRequestError,
    LimitExceededError,
    PermissionDeniedError,
    RequestTimeoutError,
    RoomException,
    UnavailableError,
)

__all__ = ["Address", "Fetched", "Fetcher", "is_public"]

Address = IPv4Address | IPv6Address

_NAT64: Final = IPv6Network("64:ff9b::/96")
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CHUNK_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What was at a URL. `url` is where it was found in the end; `mime_type` is without parameters."""

    url: str
    mime_type: str
    charset: str
    data: bytes

    @property
    def name(self) -> str:
        """The last part of the URL's path; `download` if it has none."""
        return PurePosixPath(URL(self.url).path).name or "download"

    @property
    def text(self) -> str:
        """The data as text; what its encoding cannot read is replaced."""
        try:
            return self.data.decode(self.charset, "replace")
        except LookupError:
            return self.data.decode("utf-8", "replace")


def is_public(address: Address) -> bool:
    """Whether an address is on the internet at large: not this machine, a private network or a cloud's own services."""
    if isinstance(address, IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if embedded is None and address in _NAT64:
            embedded = IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded is not None:
            return is_public(embedded)
    return address.is_global and not address.is_multicast


class Fetcher:
    """Fetches URLs that somebody else names, such as a model.

    The address is judged when the connection is made, for each redirect again, so that a name that changes its mind
    helps nobody.

    Args:
        max_bytes: Largest answer, unpacked.
        timeout: Seconds for all of it.
        max_redirects: How many are followed.
        allows: Judges addresses.
    """

    def __init__(
        self,
        *,
        max_bytes: int = 10 * 1024 * 1024,
        timeout: float = 30.0,
        max_redirects: int = 5,
        allows: Callable[[Address], bool] = is_public,
    ) -> None:
        self._max_bytes = max_bytes
        self._timeout = timeout
        self._max_redirects = max_redirects
        self._allows = allows

    async def fetch(self, url: str) -> Fetched:
        """What is at an http or https URL.

        Raises:
            InvalidRequestError: It is not such a URL.
            PermissionDeniedError: It leads to an address that may not be reached.
            LimitExceededError: The answer is too large, or redirected too often.
            RequestTimeoutError: It took too long.
            UnavailableError: Nobody is there.
            RoomException: The answer is a failure.
        """
        try:
            async with asyncio.timeout(self._timeout), self._session() as session:
                return await self._follow(session, url)
        except TimeoutError:
            raise RequestTimeoutError(f"{url} took longer than {self._timeout:g} seconds") from None
        except aiohttp.ClientError as error:
            raise UnavailableError(f"{url} cannot be fetched: {error}") from None

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        connector = aiohttp.TCPConnector(resolver=_JudgingResolver(self._allows), use_dns_cache=False)
        headers = {"User-Agent": "meshagent"}
        async with aiohttp.ClientSession(
            connector=connector, headers=headers, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            yield session

    async def _follow(self, session: aiohttp.ClientSession, url: str) -> Fetched:
        target = self._judged(url)
        for _ in range(self._max_redirects + 1):
            async with session.get(target, allow_redirects=False) as answer:
                location = answer.headers.get("Location")
                if answer.status in _REDIRECTS and location:
                    target = self._judged(str(target.join(URL(location))))
                    continue
                if answer.status >= 400:
                    raise RoomException(f"{target} answered with status {answer.status}")
                return Fetched(
                    url=str(target),
                    mime_type=answer.content_type,
                    charset=answer.charset or "utf-8",
                    data=await self._read(answer),
                )
        raise LimitExceededError(f"{url} redirects too often", limit=self._max_redirects)

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        data = bytearray()
        async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
            data += chunk
            if len(data) > self._max_bytes:
                raise LimitExceededError(f"{answer.url} has more than {self._max_bytes} bytes", limit=self._max_bytes)
        return bytes(data)

    def _judged(self, url: str) -> URL:
        """The URL; addresses that it names itself never reach the resolver, so they are judged here."""
        try:
            parsed = URL(url)
            host, _ = parsed.host, parsed.port
        except ValueError as error:
            raise InvalidRequestError(f"{url!r} is not a URL: {error}") from None
        if parsed.scheme not in ("http", "https") or not host:
            raise InvalidRequestError(f"{url!r} is not an http or https URL")
        try:
            address = ip_address(host)
        except ValueError:
            return parsed
        if not self._allows(address):
            raise PermissionDeniedError(f"{host} may not be reached from here")
        return parsed


class _JudgingResolver(AbstractResolver):
    """Finds only addresses that may be reached."""

    def __init__(self, allows: Callable[[Address], bool]) -> None:
        self._allows = allows
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        allowed = [entry for entry in found if self._allows(ip_address(entry["host"].partition("%")[0]))]
        if found and not allowed:
            raise PermissionDeniedError(f"{host} may not be reached from here")
        return allowed

    async def close(self) -> None:
        await self._resolver.close()
