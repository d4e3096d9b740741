"""What an operator sees when a part of the server fails."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from meshagent.server.stores.errors import StoreFailedError
from tests.support.server import serve


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
