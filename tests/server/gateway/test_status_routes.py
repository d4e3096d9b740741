"""What an operator sees when a part of the server fails."""

from __future__ import annotations

import time
from pathlib import Path

import aiohttp
import pytest

from meshagent.api.contracts.operation import EMPTY, Empty
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.messaging import MessagingService
from meshagent.server.stores.errors import StoreFailedError
from tests.support.server import serve
from tests.support.wire_client import join


async def test_a_failing_disk_shows_in_healthz_until_it_works_again(tmp_path: Path) -> None:
    async with serve(tmp_path) as server, aiohttp.ClientSession() as http:
        health = server.started.health
        health.report_failure("file store", StoreFailedError("no space left on device"))
        async with http.get(server.url + "/healthz") as answer:
            assert answer.status == 503
            shown = (await answer.json())["components"]["file store"]
            assert shown["healthy"] is False
            assert "no space left" in shown["last_error"]
            assert shown["failing_since"] is not None
        async with http.get(server.url + "/metrics") as answer:
            text = await answer.text()
            assert 'meshagent_component_healthy{component="file store"} 0.0' in text
            assert "meshagent_rooms 0.0" in text
        health.report_success("file store")
        async with http.get(server.url + "/healthz") as answer:
            assert answer.status == 200


async def test_the_root_answers_so_that_scripts_can_wait_for_it(tmp_path: Path) -> None:
    async with serve(tmp_path, metrics=False) as server, aiohttp.ClientSession() as http:
        async with http.get(server.url + "/") as answer:
            assert (await answer.json())["ok"] is True
        async with http.get(server.url + "/metrics") as answer:
            assert answer.status == 404


async def test_an_operation_that_holds_the_loop_is_named_in_the_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hold(service: MessagingService, caller: Participant, request: Empty) -> Empty:
        end = time.thread_time() + 0.2
        while time.thread_time() < end:
            pass
        return EMPTY

    monkeypatch.setattr(MessagingService, "disable", hold)
    async with serve(tmp_path) as server, aiohttp.ClientSession() as http, join(server, "alice") as alice:
        await server.longest_turn(reset=True)
        await alice.ok("messaging.disable")
        longest = await server.longest_turn()
        assert longest.operation == "messaging.disable"
        assert longest.cpu_seconds > 0.15
        assert "test_status_routes" in longest.place or "meshagent.server" in longest.place
        async with http.get(server.url + "/metrics") as answer:
            text = await answer.text()
        assert 'meshagent_loop_longest_turn_seconds{operation="messaging.disable"}' in text
        assert 'meshagent_loop_lost_seconds_total{operation="messaging.disable"}' in text
        assert 'meshagent_loop_turn_seconds_bucket{le="0.1"}' in text
