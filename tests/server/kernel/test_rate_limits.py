"""Rate limits of requests, on a clock of their own and over sockets."""

from __future__ import annotations

from pathlib import Path

from meshagent.server.kernel.rate_limits import RequestGate, RequestRates, TokenBucket
from tests.support.fake_room import fake_admission
from tests.support.server import serve
from tests.support.wire_client import join


def test_a_bucket_allows_a_burst_and_then_its_rate() -> None:
    now = 0.0
    bucket = TokenBucket(10, lambda: now)
    gate = RequestGate(bucket)
    assert sum(gate.exceeded() is None for _ in range(50)) == 20
    now = 0.5
    assert sum(gate.exceeded() is None for _ in range(50)) == 5
    now = 1000.0
    assert sum(gate.exceeded() is None for _ in range(50)) == 20


def test_connections_of_one_token_share_its_bucket() -> None:
    rates = RequestRates(per_token=1)
    one, two = rates.gate(fake_admission()), rates.gate(fake_admission())
    assert one is not None
    assert two is not None
    assert [one.exceeded(), two.exceeded(), one.exceeded(), two.exceeded()] == [None, None, 1, 1]
    assert RequestRates().gate(fake_admission()) is None


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
