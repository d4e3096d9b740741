"""Requests to the REST API: addresses, tokens, and what becomes of refusals; against a server of one's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from meshagent.api.accounts.client import AccountsClient
from meshagent.api.accounts.rest import path_of
from meshagent.api.errors import NotFoundError
from meshagent.api.profile import Profile, save_profile


class Recorder:
    """A server that records requests and answers all alike."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str]] = []
        self.answer: Callable[[], web.Response] = lambda: web.json_response({"rooms": []})
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.raw_path, request.headers["Authorization"]))
        return self.answer()


@pytest.fixture
async def server() -> AsyncIterator[Recorder]:
    recorder = Recorder()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", recorder.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        recorder.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield recorder
    finally:
        await runner.cleanup()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No token and no server but those that a test sets; returns where the profile is."""
    for name in ("MESHAGENT_ADMIN_TOKEN", "MESHAGENT_API_KEY", "MESHAGENT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    profile = tmp_path / "profile.json"
    monkeypatch.setenv("MESHAGENT_PROFILE", str(profile))
    return profile


def test_parts_of_a_path_are_quoted() -> None:
    assert path_of("rooms", "a/b c", "é") == "/rooms/a%2Fb%20c/%C3%A9"


async def test_names_and_queries_travel_unchanged(server: Recorder) -> None:
    async with AccountsClient(server.url + "/", token="t") as client:
        assert await client.list_rooms(project_id="p", limit=3) == {"rooms": []}
        await client.get_room(project_id="p", name="a/b")
    assert server.requests == [
        ("GET", "/accounts/projects/p/rooms?limit=3", "Bearer t"),
        ("GET", "/accounts/projects/p/rooms/a%2Fb", "Bearer t"),
    ]


async def test_the_first_token_at_hand_is_used(
    server: Recorder, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFoundError, match="no token for the REST API"):
        AccountsClient(server.url)
    save_profile(Profile(api_url=server.url, admin_token="profile"), environment)
    monkeypatch.setenv("MESHAGENT_API_KEY", "key")
    for expected in ("key", "profile"):
        async with AccountsClient() as client:
            await client.whoami()
        assert server.requests[-1] == ("GET", "/accounts/whoami", f"Bearer {expected}")
        monkeypatch.delenv("MESHAGENT_API_KEY", raising=False)


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        (lambda: web.json_response({"error": {"message": "no room 'x'"}}, status=404), 404, "no room 'x'"),
        (lambda: web.Response(text="<html>", status=502), 502, "Bad Gateway"),
        (lambda: web.json_response([], status=400), 400, "Bad Request"),
    ],
    ids=["with a reason", "of a proxy", "with other JSON"],
)
async def test_refusals_say_why(
    server: Recorder, answer: Callable[[], web.Response], status: int, message: str
) -> None:
    server.answer = answer
    async with AccountsClient(server.url, token="t") as client:
        with pytest.raises(aiohttp.ClientResponseError) as caught:
            await client.whoami()
    assert (caught.value.status, caught.value.message) == (status, message)


async def test_an_empty_answer_is_none(server: Recorder) -> None:
    server.answer = lambda: web.Response(status=204)
    async with AccountsClient(server.url, token="t") as client:
        assert await client.whoami() is None
