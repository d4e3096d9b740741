"""`docs/reference/rest-api.md` lists every route, as the table has it."""

from __future__ import annotations

from pathlib import Path

from meshagent.server.gateway.accounts.rest_route import Route
from tests.support.accounts_server import AccountsServer

REFERENCE = Path(__file__).parents[4] / "docs" / "reference" / "rest-api.md"


def row(route: Route) -> str:
    """The route's line in the reference."""
    return f"| `{route.method} {route.path}` | {route.access.value} | {route.summary} |"


async def test_the_reference_has_every_route_and_no_other(api: AccountsServer) -> None:
    rows = [line for line in REFERENCE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(row(route) for route in api.table)
