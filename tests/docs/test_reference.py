"""The pages on HTTP and limits have an entry for all that is served, and for nothing else."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from meshagent.api import errors
from meshagent.server.config import ServerConfig
from meshagent.server.gateway.http_errors import status_of
from tests.support.assembly import AssembledServer, assembled_server
from tests.support.docs import section, table_rows, text_of


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[AssembledServer]:
    async with assembled_server(tmp_path) as assembled:
        yield assembled


def subclasses(kind: type[errors.RoomException]) -> Iterator[type[errors.RoomException]]:
    for child in kind.__subclasses__():
        if child.__module__.startswith(("meshagent.server", "meshagent.api")):
            yield child
            yield from subclasses(child)


def test_every_code_that_http_routes_can_answer_is_listed_with_its_status() -> None:
    rows = {row[0]: " ".join(row) for row in table_rows(section(text_of("reference/http.md"), "## Failures"))}
    for kind in subclasses(errors.RoomException):
        if kind.__module__.startswith("meshagent.api.transport") or kind.code in ("webhook_refused", "http_status"):
            continue  # never answered: they say what another server answered
        error = kind.__new__(kind)
        assert f"`{kind.code}`" in rows[str(status_of(error))], kind


async def test_every_http_route_is_in_the_reference(server: AssembledServer) -> None:
    of_accounts = set(re.findall(r"^\| `(\w+) (\S+)` ", text_of("reference/rest-api.md"), re.MULTILINE))
    served = set()
    for route in server.application.router.routes():
        assert route.resource is not None
        path = re.sub(r"\{(\w+):[^}]*\}", r"{\1}", route.resource.canonical)
        if route.method != "HEAD" and (route.method, path) not in of_accounts:
            served.add((route.method, path))
    rows = table_rows(text_of("reference/http.md").partition("## Failures")[0])
    documented = {tuple(row[0].strip("`").split(" ")) for row in rows if row[0].startswith("`")}
    assert documented == served


def test_every_limit_is_on_its_page() -> None:
    page = text_of("reference/limits.md")
    for name in ServerConfig.model_fields["limits"].annotation.model_fields:  # type: ignore[union-attr]
        assert f"`limits.{name}`" in page, name
