"""Requests to the accounts REST API: URLs, authorization, errors."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import aiohttp
from yarl import URL

from meshagent.api.errors import NotFoundError
from meshagent.api.profile import api_base_url, load_profile, profile_path

_TOKEN_VARIABLES: Final = ("MESHAGENT_ADMIN_TOKEN", "MESHAGENT_API_KEY")

Json = Any


def path_of(*parts: str) -> str:
    """A path of these parts, each quoted."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


class RestClient:
    """Sends requests with a bearer token. Create it in a running event loop, and `close` it.

    Args:
        base_url: The server; by default that of the environment or the profile.
        token: A user's token, the server's administrator token, or a project's API key in one line. By default
            `MESHAGENT_ADMIN_TOKEN`, `MESHAGENT_API_KEY`, or the administrator token of the profile.

    Raises:
        NotFoundError: No token is given, and none is found.
    """

    def __init__(self, base_url: str | None = None, token: str | None = None) -> None:
        self.base_url = (base_url or api_base_url()).rstrip("/")
        headers = {"Authorization": f"Bearer {token or _default_token()}", "Content-Type": "application/json"}
        self._session = aiohttp.ClientSession(headers=headers)

    async def close(self) -> None:
        """Close the connections. Closing again does nothing."""
        await self._session.close()

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def _call(
        self,
        method: str,
        path: str,
        body: Json = None,
        *,
        query: Mapping[str, str | int | None] | None = None,
    ) -> Json:
        """Send a request and return the JSON of the answer; None if it is empty.

        Raises:
            aiohttp.ClientResponseError: The server answered with a status of 400 or more; `message` says why.
            aiohttp.ClientError: It did not answer.
        """
        async with self._session.request(method, self._url(path, query), json=body) as response:
            await _raise_for_error(response)
            return await response.json() if await response.read() else None

    async def _send(self, path: str, content: bytes, *, query: Mapping[str, str | int | None]) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        async with self._session.post(self._url(path, query), data=io.BytesIO(content), headers=headers) as response:
            await _raise_for_error(response)

    async def _fetch(self, path: str, *, query: Mapping[str, str | int | None]) -> bytes:
        async with self._session.get(self._url(path, query)) as response:
            await _raise_for_error(response)
            return await response.read()

    def _url(self, path: str, query: Mapping[str, str | int | None] | None) -> URL:
        url = URL(self.base_url + path, encoded=True)  # quoted already: a room's name may hold a slash
        given = {name: value for name, value in (query or {}).items() if value is not None}
        return url.with_query(given) if given else url


async def _raise_for_error(response: aiohttp.ClientResponse) -> None:
    if response.status < 400:
        return
    try:
        message = str((await response.json())["error"]["message"])
    except (aiohttp.ClientError, ValueError, KeyError, TypeError):
        message = response.reason or ""
    raise aiohttp.ClientResponseError(
        response.request_info, response.history, status=response.status, message=message, headers=response.headers
    )


def _default_token() -> str:
    for variable in _TOKEN_VARIABLES:
        if token := os.environ.get(variable):
            return token
    token = load_profile(profile_path()).admin_token
    if not token:
        raise NotFoundError("no token for the REST API: pass one, or set MESHAGENT_API_KEY")
    return token
