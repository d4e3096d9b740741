"""Opens accounts: the database with all that works on it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from meshagent.api.errors import RoomException
from meshagent.server.accounts.access import ApiAuthenticator
from meshagent.server.accounts.database import Database, DatabaseStartError, database_url
from meshagent.server.accounts.encryption import DecryptionError, SecretBox
from meshagent.server.accounts.external_services import ExternalServiceCache
from meshagent.server.accounts.keys import KeyRing, seed_identity
from meshagent.server.accounts.model_usage import ModelUsage
from meshagent.server.accounts.ownership import ServerFolder
from meshagent.server.accounts.people import People
from meshagent.server.accounts.room_registry import RoomData, RoomRegistry, RunningRooms
from meshagent.server.accounts.sessions import SessionLimits, SessionRecorder
from meshagent.server.accounts.store import AccountsStore
from meshagent.server.accounts.tokens import TokenIssuer
from meshagent.server.accounts.webhooks import WebhookCache
from meshagent.server.config import LlmSettings, ModelBudget, ServerConfig
from meshagent.server.identity import ServerIdentity
from meshagent.server.stores.files import FileStores
from meshagent.server.stores.health import HealthMonitor

log = logging.getLogger(__name__)

_REFRESH_INTERVAL: Final = 10.0  # seconds until a key revoked by another server is good no more here


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """The parts of accounts that the gateway and the rooms use.

    Attributes:
        identity: The server's default project and key.
        room_url: The WebSocket URL of a room: project id, room name.
        files: Where project storage is.
        model_usage: What participants used of the models.
        project_budget: What each project may use of them.
    """

    identity: ServerIdentity
    store: AccountsStore
    keys: KeyRing
    authenticator: ApiAuthenticator
    people: People
    rooms: RoomRegistry
    running: RunningRooms
    sessions: SessionRecorder
    model_usage: ModelUsage
    project_budget: ModelBudget
    tokens: TokenIssuer
    webhooks: WebhookCache
    external_services: ExternalServiceCache
    files: FileStores
    max_file_bytes: int
    room_url: Callable[[str, str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountsPorts:
    """What accounts needs of the rest of the server."""

    running: RunningRooms
    data: RoomData
    files: FileStores
    room_url: Callable[[str, str], str]


@asynccontextmanager
async def open_accounts(
    config: ServerConfig,
    identity: ServerIdentity,
    health: HealthMonitor,
    ports: AccountsPorts,
    *,
    session_limits: SessionLimits | None = None,
) -> AsyncIterator[Accounts]:
    """Accounts for the length of the block, with the server's own project and key in them.

    Raises:
        DatabaseStartError: The database cannot be used, or belongs to a server with another encryption key.
    """
    configured = config.database_url.get_secret_value() if config.database_url is not None else None
    database = await Database.open(
        database_url(config.data_dir, configured),
        box=SecretBox(identity.encryption_key),
        folder=ServerFolder(path=config.data_dir, project_id=identity.project_id),
        health=health,
        durability=config.durability,
    )
    try:
        store = AccountsStore(database)
        keys = await _open_keys(store, identity, ports.running)
        model_usage = ModelUsage(database, keep_days=config.llm.usage_days, follow=_has_quotas(config.llm))
        sessions = SessionRecorder(database, server=_server_name(config), limits=session_limits)
        await sessions.start()
        await model_usage.start()
        accounts = Accounts(
            identity=identity,
            store=store,
            keys=keys,
            authenticator=ApiAuthenticator(store, keys, admin_token=identity.admin_token),
            people=People(store),
            rooms=RoomRegistry(store, ports.running, ports.data),
            running=ports.running,
            sessions=sessions,
            model_usage=model_usage,
            project_budget=config.llm.project_budget,
            tokens=TokenIssuer(keys),
            webhooks=WebhookCache(store),
            external_services=ExternalServiceCache(store),
            files=ports.files,
            max_file_bytes=config.limits.max_file_bytes,
            room_url=ports.room_url,
        )
        stopping = asyncio.Event()  # no cancelling: a connection that is cut in a transaction cannot be used again
        upkeep = asyncio.create_task(_upkeep(accounts, stopping), name="accounts upkeep")
        try:
            yield accounts
        finally:
            stopping.set()
            await asyncio.gather(upkeep, return_exceptions=True)
            await sessions.close()
            await model_usage.close()
    finally:
        await database.close()


async def _open_keys(store: AccountsStore, identity: ServerIdentity, running: RunningRooms) -> KeyRing:
    keys = KeyRing(
        store,
        default_project_id=identity.project_id,
        default_key_id=identity.key_id,
        on_revoked=running.disconnect_key,
    )
    try:
        await seed_identity(store, identity)
        await keys.refresh()
    except DecryptionError as error:
        raise DatabaseStartError(f"{error}; see the setting encryption_key") from error
    return keys


async def _upkeep(accounts: Accounts, stopping: asyncio.Event) -> None:
    """Finish interrupted deletions; then, on a shared database, follow the changes of other servers."""
    try:
        await accounts.rooms.finish_deletions()
    except RoomException:
        log.exception("could not remove the data of deleted rooms; retrying at the next start")
    while accounts.store.database.is_shared and not stopping.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), _REFRESH_INTERVAL)
        try:
            await accounts.keys.refresh()
            accounts.webhooks.invalidate()
            accounts.external_services.invalidate()
        except RoomException as error:
            log.warning("could not refresh the API keys: %s", error)


def _has_quotas(llm: LlmSettings) -> bool:
    budgets = (llm.token_budget, llm.room_budget, llm.project_budget)
    return any(budget.tokens_per_day or budget.cost_per_day or budget.cost_per_month for budget in budgets)


def _server_name(config: ServerConfig) -> str:
    """The same at each start of one server, different for servers that share a database."""
    text = f"{socket.gethostname()}:{config.data_dir}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
