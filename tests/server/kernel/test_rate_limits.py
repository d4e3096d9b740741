"""Rate limits of requests, on a clock of their own and over sockets."""

from __future__ import annotations

import gc
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from meshagent.server.kernel import rate_limits
from meshagent.server.kernel.rate_limits import RateExceededError, RequestGate, RequestRates, TokenBucket
from tests.support.fake_room import fake_admission
from tests.support.server import PROJECT_ID, TestServer, serve
from tests.support.wire_client import join


def allowed(gate: RequestGate, count: int) -> int:
    """How many of that many requests are within the limits."""
    done = 0
    for _ in range(count):
        with suppress(RateExceededError):
            gate.count()
            done += 1
    return done


def test_a_bucket_allows_a_burst_and_then_its_rate() -> None:
    now = 0.0
    gate = RequestGate(TokenBucket(10, lambda: now))
    assert allowed(gate, 50) == 20
    now = 0.5
    assert allowed(gate, 50) == 5
    now = 1000.0
    assert allowed(gate, 50) == 20


def test_an_error_says_when_the_next_request_is_allowed() -> None:
    now = 0.0
    gate = RequestGate(TokenBucket(0.5, lambda: now), TokenBucket(100, lambda: now))
    gate.count()
    now = 0.4
    with pytest.raises(RateExceededError, match=r"over 0\.5 requests a second; try again in 1\.6 s") as caught:
        gate.count()
    now += caught.value.retry_after
    gate.count()


def test_connections_of_one_token_share_its_bucket() -> None:
    rates = RequestRates(per_token=1)
    one, two = rates.gate(fake_admission()), rates.gate(fake_admission())
    assert one is not None
    assert two is not None
    assert [allowed(gate, 1) for gate in (one, two, one, two)] == [1, 1, 0, 0]
    assert RequestRates().gate(fake_admission()) is None


def test_plain_requests_are_counted_while_nobody_is_connected() -> None:
    now = 0.0
    rates = RequestRates(per_token=1, clock=lambda: now)
    admission = fake_admission()
    for _ in range(2):
        rates.count(admission)
    with pytest.raises(RateExceededError):
        rates.count(admission)
    gate = rates.gate(admission)
    assert gate is not None
    assert allowed(gate, 1) == 0, "rooms and plain requests count together"


def test_who_comes_back_finds_what_it_has_used() -> None:
    now = 0.0
    rates = RequestRates(per_token=20, per_project=1000, clock=lambda: now)
    total = 0
    for _ in range(30):  # each connection is gone, and its gate with it, before the next one comes
        gate = rates.gate(fake_admission())
        assert gate is not None
        total += allowed(gate, 45)
        del gate
        now += 0.05
    assert total == 40 + 29
    now += 2.0
    gate = rates.gate(fake_admission())
    assert gate is not None
    assert allowed(gate, 45) == 40


def test_what_an_old_connection_uses_after_a_pause_counts_for_the_next() -> None:
    now = 0.0
    rates = RequestRates(per_token=1, clock=lambda: now)
    gate = rates.gate(fake_admission())
    assert gate is not None
    assert allowed(gate, 2) == 2
    now = 100.0
    rates.count(fake_admission(name="bob"))  # looks at what is kept: the bucket of the first is full
    assert allowed(gate, 2) == 2
    del gate
    again = rates.gate(fake_admission())
    assert again is not None
    assert allowed(again, 2) == 0


@pytest.mark.parametrize("rate", [1.0, 0.25, 100.0])
def test_buckets_are_forgotten_when_they_are_full(rate: float) -> None:
    now = 0.0
    rates = RequestRates(per_token=rate, clock=lambda: now)
    for number in range(100):
        rates.count_caller(None, f"caller {number}")
    assert len(rates._kept) == len(rates._buckets) == 100
    now = 10.0
    for number in range(100, 140):
        rates.count_caller(None, f"caller {number}")
    assert len(rates._kept) == len(rates._buckets) == 40


def test_a_bounded_number_of_buckets_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "MAX_KEPT", 10)
    now = 0.0
    rates = RequestRates(per_token=1, clock=lambda: now)
    for number in range(50):
        for _ in range(2):
            rates.count_caller(None, f"caller {number}")
    assert len(rates._kept) == len(rates._buckets) == 10
    with pytest.raises(RateExceededError):
        rates.count_caller(None, "caller 49")


async def test_a_new_connection_does_not_refill_the_rate_of_its_token(tmp_path: Path) -> None:
    async with serve(tmp_path, limits={"requests_per_second_per_token": 0.001}) as server:
        async with join(server) as alice:
            await alice.ok("storage.exists", {"path": ""})
        gc.collect()
        async with join(server) as alice:
            assert "requests a second" in await alice.error("storage.exists", {"path": ""})


async def test_requests_over_the_rate_get_an_error_and_other_tokens_go_on(tmp_path: Path) -> None:
    limits = {"requests_per_second_per_token": 0.001}
    async with serve(tmp_path, limits=limits) as server, join(server) as alice, join(server, "bob") as bob:
        await alice.ok("storage.exists", {"path": ""})
        assert "requests a second" in await alice.error("storage.exists", {"path": ""})
        await bob.ok("storage.exists", {"path": ""})


async def test_a_project_can_be_limited_as_a_whole(tmp_path: Path) -> None:
    limits = {"requests_per_second_per_project": 0.001}
    async with serve(tmp_path, limits=limits) as server, join(server) as alice, join(server, "bob") as bob:
        await alice.ok("storage.exists", {"path": ""})
        assert "requests a second" in await bob.error("storage.exists", {"path": ""})


async def statuses(server: TestServer, path: str, token: str | None, count: int = 2) -> list[tuple[int, str | None]]:
    """The status and `Retry-After` of each of a few equal requests."""
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    answers = []
    async with aiohttp.ClientSession(headers=headers) as session:
        for _ in range(count):
            async with session.get(server.url + path) as answer:
                answers.append((answer.status, answer.headers.get("Retry-After")))
                if answer.status == 429:
                    assert (await answer.json())["error"]["code"] == "limit_exceeded"
    return answers


async def test_plain_requests_over_the_rate_of_their_token_get_429_and_when_to_come_back(tmp_path: Path) -> None:
    async with serve(tmp_path, limits={"requests_per_second_per_token": 0.001}) as server:
        path = "/rooms/room/storage/missing.txt"
        assert await statuses(server, path, server.token("alice")) == [(404, None), (429, "1000")]
        async with join(server) as alice:
            assert "requests a second" in await alice.error("storage.exists", {"path": ""})
        assert await statuses(server, path, server.token("bob"), 1) == [(404, None)]
        assert await statuses(server, "/healthz", None) == [(200, None), (200, None)]


async def test_rest_requests_and_signed_urls_count_for_their_project(tmp_path: Path) -> None:
    async with serve(tmp_path, limits={"requests_per_second_per_project": 1.5}) as server:
        async with join(server) as alice:
            handle = (await alice.ok("storage.open", {"path": "a.txt", "overwrite": True}))["handle"]
            await alice.ok("storage.close", {"handle": handle})
            url = (await alice.ok("storage.download_url", {"path": "a.txt"}))["url"]
        [(status, wait)] = await statuses(server, url.removeprefix(server.url), None, 1)
        assert (status, wait) == (429, "1")
        [(status, wait)] = await statuses(server, f"/accounts/projects/{PROJECT_ID}/rooms", server.secret, 1)
        assert (status, wait) == (429, "1")


async def test_the_administrator_is_not_counted(tmp_path: Path) -> None:
    limits = {"requests_per_second_per_token": 0.001, "requests_per_second_per_project": 0.001}
    path = f"/accounts/projects/{PROJECT_ID}/rooms"
    async with serve(tmp_path, limits=limits, admin_token="the administrator's token") as server:
        assert await statuses(server, path, "the administrator's token") == [(200, None)] * 2
        assert await statuses(server, path, server.secret) == [(200, None), (429, "1000")]
