"""The accounts API, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshagent.api.accounts_client import AccountsClient
from tests.support.accounts_server import ADMIN_TOKEN, AccountsServer, accounts_server


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[AccountsServer]:
    async with accounts_server(tmp_path) as served:
        yield served


@pytest.fixture
async def admin(api: AccountsServer) -> AsyncIterator[AccountsClient]:
    """The server's administrator."""
    client = AccountsClient(api.url, ADMIN_TOKEN)
    yield client
    await client.close()
