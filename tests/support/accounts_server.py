"""The accounts API alone, on a free port, with rooms that only seem to run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import time

from aiohttp import web
from aiohttp.test_utils import TestServer

from meshagent.server.accounts.accounts import Accounts, AccountsPorts, open_accounts
from meshagent.server.accounts.room_registry import RoomData, RunningRooms
from meshagent.server.gateway.accounts.rest_api import account_routes, all_routes
from meshagent.server.gateway.accounts.rest_route import Route
from meshagent.server.gateway.auth import RoomAuthenticator
from meshagent.server.gateway.http_errors import error_middleware
from meshagent.server.identity import load_identity
from meshagent.server.outgoing.client import OutgoingClient
from meshagent.server.stores.health import HealthMonitor
from meshagent.server.stores.memory_files import MemoryFileStores
from meshagent.server.stores.sqlite_outbox import SqliteOutbox
from meshagent.server.webhooks.deliverer import WebhookDeliverer
from meshagent.server.webhooks.deliveries import RoomDeliveryNotes
from meshagent.server.webhooks.requests import WebhookRequests
from meshagent.server.webhooks.room_calls import RoomCallSender
from tests.support.server import server_config
from tests.support.stores import open_commit_log

ADMIN_TOKEN = "test-admin-token"


@dataclass
class FakeRunningRooms(RunningRooms):
    """Rooms by project and name: session id, and participants by id."""

    sessions: dict[tuple[str, str], str] = field(default_factory=dict)
    people: dict[str, str] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)

    async def participants(self, project_id: str, room_name: str) -> list[dict[str, object]]:
        return [{"id": key, "name": name, "role": "user"} for key, name in self.people.items()]

    async def session_id(self, project_id: str, room_name: str) -> str | None:
        return self.sessions.get((project_id, room_name))

    async def end(self, project_id: str, room_name: str, reason: str) -> bool:
        self.ended.append(room_name)
        return self.sessions.pop((project_id, room_name), None) is not None

    async def kick(self, project_id: str, room_name: str, participant_id: str) -> bool:
        return self.people.pop(participant_id, None) is not None

    async def disconnect_key(self, project_id: str, key_id: str) -> None:
        self.revoked.append(key_id)


@dataclass
class FakeRoomData(RoomData):
    """Remembers what was to be deleted."""

    deleted: list[str] = field(default_factory=list)

    async def delete(self, project_id: str, storage_name: str) -> None:
        self.deleted.append(storage_name)


@dataclass(frozen=True, kw_only=True)
class AccountsServer:
    """The served API.

    Attributes:
        url: Its base URL.
        table: Its routes.
    """

    url: str
    accounts: Accounts
    table: list[Route]
    running: FakeRunningRooms
    data: FakeRoomData
    webhooks: WebhookDeliverer

    @property
    def project_id(self) -> str:
        """The default project."""
        return self.accounts.identity.project_id


@asynccontextmanager
async def accounts_server(data_dir: Path, **settings: object) -> AsyncIterator[AccountsServer]:
    """The API for the length of the block."""
    config = server_config(data_dir, durability="process", **settings)
    identity = load_identity(config)
    running, data, files = FakeRunningRooms(), FakeRoomData(), MemoryFileStores()
    ports = AccountsPorts(
        running=running, data=data, files=files, room_url=lambda project_id, name: f"ws://test/rooms/{name}"
    )
    async with (
        open_commit_log(data_dir) as log,
        OutgoingClient(config.outgoing) as http,
        open_accounts(config, identity, HealthMonitor(), ports) as accounts,
    ):
        requests = WebhookRequests(
            http,
            RoomCallSender(http, accounts.tokens, identity.secret),
            room_url=ports.room_url,
            default_secret=identity.secret,
        )
        notes = RoomDeliveryNotes(lambda key, entry_type, data: None)
        webhooks = WebhookDeliverer(accounts.webhooks, SqliteOutbox(log), requests, notes)
        await webhooks.start()
        authenticator = RoomAuthenticator(
            lookup=accounts.keys.lookup,
            default_secret=identity.secret,
            default_project_id=identity.project_id,
            now=time,
        )
        application = web.Application(middlewares=[error_middleware])
        application.add_routes(account_routes(accounts, authenticator, webhooks))
        async with TestServer(application) as server:
            yield AccountsServer(
                url=str(server.make_url("")).rstrip("/"),
                accounts=accounts,
                table=all_routes(accounts, authenticator, webhooks),
                running=running,
                data=data,
                webhooks=webhooks,
            )
        await webhooks.close()
