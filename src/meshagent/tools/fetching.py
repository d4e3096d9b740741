"""`Fetcher`: downloads URLs from untrusted sources, with limits on size, time, redirects and addresses."""

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
    """A downloaded resource. `url` is the final URL after redirects; `mime_type` excludes parameters."""

    url: str
    mime_type: str
    charset: str
    data: bytes

    @property
    def name(self) -> str:
        """The last segment of the URL's path, or `download` if it is empty."""
        return PurePosixPath(URL(self.url).path).name or "download"

    @property
    def text(self) -> str:
        """The data as text; undecodable bytes are replaced."""
        try:
            return self.data.decode(self.charset, "replace")
        except LookupError:
            return self.data.decode("utf-8", "replace")


def is_public(address: Address) -> bool:
    """Whether an address is on the public internet: not loopback, a private network or a cloud metadata service."""
    if isinstance(address, IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if embedded is None and address in _NAT64:
            embedded = IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded is not None:
            return is_public(embedded)
    return address.is_global and not address.is_multicast


class Fetcher:
    """Downloads URLs chosen by others, such as a language model, without access to internal addresses.

    The address is checked when the connection is made and again for each redirect, which prevents DNS rebinding.

    Args:
        max_bytes: Maximum size of a response after decompression.
        timeout: Seconds for the whole download.
        max_redirects: Maximum number of redirects.
        allows: Decides whether an address may be contacted. Default: `is_public`.
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
        """Download an http or https URL.

        Raises:
            InvalidRequestError: `url` is not an http or https URL.
            PermissionDeniedError: The address is not allowed.
            LimitExceededError: The response is too large, or there are too many redirects.
            RequestTimeoutError: The download took too long.
            UnavailableError: The server cannot be reached.
            RoomException: The server returned an error status.
        """
        try:
            async with asyncio.timeout(self._timeout), self._session() as session:
                return await self._follow(session, url)
        except TimeoutError:
            raise RequestTimeoutError(f"downloading {url} took longer than {self._timeout:g} seconds") from None
        except aiohttp.ClientError as error:
            raise UnavailableError(f"cannot download {url}: {error}") from None

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        connector = aiohttp.TCPConnector(resolver=_CheckingResolver(self._allows), use_dns_cache=False)
        headers = {"User-Agent": "meshagent"}
        async with aiohttp.ClientSession(
            connector=connector, headers=headers, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            yield session

    async def _follow(self, session: aiohttp.ClientSession, url: str) -> Fetched:
        target = self._checked(url)
        for _ in range(self._max_redirects + 1):
            async with session.get(target, allow_redirects=False) as response:
                location = response.headers.get("Location")
                if response.status in _REDIRECTS and location:
                    target = self._checked(str(target.join(URL(location))))
                    continue
                if response.status >= 400:
                    raise RoomException(f"{target} returned status {response.status}")
                return Fetched(
                    url=str(target),
                    mime_type=response.content_type,
                    charset=response.charset or "utf-8",
                    data=await self._read(response),
                )
        raise LimitExceededError(f"too many redirects from {url}", limit=self._max_redirects)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        data = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            data += chunk
            if len(data) > self._max_bytes:
                raise LimitExceededError(f"{response.url} exceeds {self._max_bytes} bytes", limit=self._max_bytes)
        return bytes(data)

    def _checked(self, url: str) -> URL:
        """Parse and check a URL. Literal IP addresses bypass the resolver, so they are checked here."""
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
            raise PermissionDeniedError(f"access to {host} is not allowed")
        return parsed


class _CheckingResolver(AbstractResolver):
    """Resolves host names to allowed addresses only."""

    def __init__(self, allows: Callable[[Address], bool]) -> None:
        self._allows = allows
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        allowed = [entry for entry in found if self._allows(ip_address(entry["host"].partition("%")[0]))]
        if found and not allowed:
            raise PermissionDeniedError(f"access to {host} is not allowed")
        return allowed

    async def close(self) -> None:
        await self._resolver.close()
