"""How the parts of a server fit together. Only this module and `room_factory` name concrete classes.

Each part is built complete, after its dependencies: the directory of rooms and the listeners for their starts, which
have none; accounts and integrations, which look up rooms in the directory; the room factory; the routes.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from aiohttp import web

from meshagent.server.accounts.accounts import Accounts, AccountsPorts, open_accounts
from meshagent.server.accounts.room_data import StoredRoomData
from meshagent.server.accounts.running_rooms import FoundRooms
from meshagent.server.addresses import Addresses
from meshagent.server.config import LimitSettings, ServerConfig, WebhookSettings
from meshagent.server.engines.metrics import EngineMetrics
from meshagent.server.engines.settings import EngineSettings
from meshagent.server.engines.store import ProcessTableStore
from meshagent.server.gateway.accounts.rest_api import account_routes
from meshagent.server.gateway.auth import RoomAuthenticator
from meshagent.server.gateway.builtin_target_routes import BuiltInTargetRoutes
from meshagent.server.gateway.document_routes import DocumentRoutes
from meshagent.server.gateway.file_routes import FileRoutes
from meshagent.server.gateway.http_errors import error_middleware, note_started
from meshagent.server.gateway.limits import ConnectionGuard, HttpLimits
from meshagent.server.gateway.llm_proxy import LlmProxyRoutes
from meshagent.server.gateway.llm_usage import LlmUsageLog, LlmUsageTotals
from meshagent.server.gateway.mcp_routes import McpRoutes
from meshagent.server.gateway.room_gateway import RoomGateway
from meshagent.server.gateway.status_routes import LoopFigures, ServerFigures, StatusRoutes
from meshagent.server.identity import ServerIdentity
from meshagent.server.integrations import Integrations, open_integrations
from meshagent.server.kernel.byte_budget import ByteBudget
from meshagent.server.kernel.loop_watch import LoopWatch
from meshagent.server.kernel.rate_limits import RequestRates
from meshagent.server.kernel.url_signing import UrlSigner
from meshagent.server.room_factory import RoomFactory, RoomLimits, RoomStores
from meshagent.server.rooms.connection import ConnectionLimits
from meshagent.server.rooms.directory import RoomDirectory
from meshagent.server.rooms.handle import RoomFinder, RoomLocator
from meshagent.server.rooms.local.locator import LocalRoomFinder, LocalRoomLocator
from meshagent.server.rooms.local.room import LocalRoom
from meshagent.server.rooms.starts import RoomStarts
from meshagent.server.services.livekit import LivekitServer
from meshagent.server.stores.commit_log import CommitLog
from meshagent.server.stores.health import HealthMonitor
from meshagent.server.stores.local_files import LocalFileStores
from meshagent.server.stores.sqlite_documents import SqliteDocumentLog
from meshagent.server.stores.sqlite_outbox import SqliteOutbox
from meshagent.server.stores.sqlite_queues import SqliteQueueStore
from meshagent.server.stores.sqlite_schema import ROOM_MIGRATIONS
from meshagent.server.webhooks.deliveries import RoomDeliveryNotes
from meshagent.server.webhooks.settings import DeliveryLimits
from meshagent.server.websocket.shell import WebSocketLimits, WebSocketShell


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerBase:
    """What everything else is made of.

    Attributes:
        config: The configuration.
        identity: The default project and key.
        stores: Where rooms keep what outlives them.
        health: What the stores report.
        addresses: Where the server is reached.
        loop_watch: Measures the turns of the event loop.
        rates: How many requests tokens and projects may send.
    """

    config: ServerConfig
    identity: ServerIdentity
    stores: RoomStores
    health: HealthMonitor
    addresses: Addresses
    loop_watch: LoopWatch
    rates: RequestRates


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """The rooms of a server.

    Attributes:
        directory: Those that run in this process.
        finder: Reaches rooms that run.
        locator: Reaches any room.
        starts: Tells of rooms that start.
    """

    directory: RoomDirectory[LocalRoom]
    finder: RoomFinder
    locator: RoomLocator
    starts: RoomStarts


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """A server that is ready to listen."""

    application: web.Application
    http_limits: HttpLimits
    guard: ConnectionGuard
    shell: WebSocketShell
    rooms: Rooms
    accounts: Accounts


@asynccontextmanager
async def open_stores(config: ServerConfig, health: HealthMonitor) -> AsyncIterator[RoomStores]:
    """The stores of all rooms, in the data folder."""
    commit_log = CommitLog(
        config.data_dir / "rooms.sqlite", ROOM_MIGRATIONS, durability=config.durability, health=health
    )
    await commit_log.open()
    try:
        files = LocalFileStores(config.data_dir / "files", durability=config.durability, health=health)
        await files.start()
        try:
            queues = await SqliteQueueStore.open_store(commit_log)
            tables = ProcessTableStore(
                config.data_dir / "tables",
                durability=config.durability,
                health=health,
                settings=EngineSettings(**config.engines.model_dump()),
            )
            try:
                yield RoomStores(
                    documents=SqliteDocumentLog(commit_log),
                    queues=queues,
                    files=files,
                    tables=tables,
                    outbox=webhook_outbox(commit_log, config.webhooks),
                )
            finally:
                await tables.close()
        finally:
            await files.close()
    finally:
        await commit_log.close()


@asynccontextmanager
async def assembled(base: ServerBase) -> AsyncIterator[Assembly]:
    """All parts of a server but its listening socket; leaving the block ends everything but the rooms."""
    directory: RoomDirectory[LocalRoom] = RoomDirectory(idle_grace=base.config.idle_grace)
    finder = LocalRoomFinder(directory)
    signer = UrlSigner(base.identity.secret.encode())
    async with (
        open_accounts(base.config, base.identity, base.health, _accounts_ports(base, finder)) as accounts,
        _open_integrations(base, accounts, finder) as integrations,
    ):
        starts = RoomStarts()
        factory = _room_factory(base, accounts, integrations, signer, starts)
        rooms = Rooms(
            directory=directory,
            finder=finder,
            locator=LocalRoomLocator(directory, factory.make),
            starts=starts,
        )
        async with _gateway(base, accounts, integrations, rooms, signer) as assembly:
            yield assembly


def _accounts_ports(base: ServerBase, finder: RoomFinder) -> AccountsPorts:
    stores = base.stores
    return AccountsPorts(
        running=FoundRooms(finder),
        data=StoredRoomData(stores.documents, stores.queues, stores.files, stores.tables),
        files=stores.files,
        room_url=base.addresses.room_url,
    )


def _open_integrations(
    base: ServerBase, accounts: Accounts, finder: RoomFinder
) -> AbstractAsyncContextManager[Integrations]:
    configured = base.config.webhook_secret
    return open_integrations(
        base.config.outgoing,
        webhooks=accounts.webhooks,
        services=accounts.external_services,
        tokens=accounts.tokens,
        secret=configured.get_secret_value() if configured else base.identity.secret,
        room_url=base.addresses.room_url,
        own_urls=base.addresses.own,
        outbox=base.stores.outbox,
        notes=RoomDeliveryNotes(finder.note),
        limits=delivery_limits(base.config.webhooks),
    )


def _room_factory(
    base: ServerBase, accounts: Accounts, integrations: Integrations, signer: UrlSigner, starts: RoomStarts
) -> RoomFactory:
    return RoomFactory(
        stores=base.stores,
        addresses=base.addresses,
        signer=signer,
        limits=room_limits(base.config.limits, base.rates),
        livekit=livekit_server(base.config),
        registry=accounts.rooms,
        sessions=accounts.sessions,
        integrations=integrations,
        services=accounts.external_services,
        starts=starts,
    )


@asynccontextmanager
async def _gateway(
    base: ServerBase, accounts: Accounts, integrations: Integrations, rooms: Rooms, signer: UrlSigner
) -> AsyncIterator[Assembly]:
    """The routes, and what they keep open."""
    config = base.config
    shell = WebSocketShell(websocket_limits(config.limits))
    authenticator = RoomAuthenticator(
        lookup=accounts.keys.lookup,
        default_secret=base.identity.secret,
        default_project_id=base.identity.project_id,
        now=time.time,
        rates=base.rates,
    )
    gateway = RoomGateway(authenticator, rooms.locator, shell, join_timeout=config.limits.join_timeout)
    usage = LlmUsageTotals()
    server = ServerFigures(rooms.finder, shell, base.health)
    figures = (server, LoopFigures(base.loop_watch), EngineMetrics(base.stores.tables), usage)
    http_limits = HttpLimits(head_timeout=config.limits.http_head_timeout)
    guard = ConnectionGuard(http_limits)
    application = web.Application(middlewares=[guard.middleware, error_middleware])
    application.on_response_prepare.append(note_started)
    async with AsyncExitStack() as stack:
        llm = LlmProxyRoutes(
            authenticator,
            config.llm,
            usage=accounts.model_usage,
            on_usage=LlmUsageLog(usage, rooms.finder).note,
        )
        stack.push_async_callback(llm.close)
        mcp = McpRoutes(gateway, call_timeout=config.limits.tool_call_timeout)
        stack.push_async_callback(mcp.close)
        application.add_routes(
            [
                web.get("/rooms/{room}", gateway.enter),
                *DocumentRoutes(gateway).routes(),
                *FileRoutes(gateway, signer, accounts.rooms.name_of, base.rates).routes(),
                *BuiltInTargetRoutes(authenticator, gateway).routes(),
                *account_routes(accounts, authenticator, integrations.webhooks),
                *llm.routes(),
                *mcp.routes(),
                *StatusRoutes(base.health, (*figures, llm.budgets), metrics=config.metrics).routes(),
            ]
        )
        await llm.start()
        yield Assembly(
            application=application,
            http_limits=http_limits,
            guard=guard,
            shell=shell,
            rooms=rooms,
            accounts=accounts,
        )


def request_rates(limits: LimitSettings) -> RequestRates:
    """The settings that bound how many requests tokens and projects send."""
    return RequestRates(
        per_token=limits.requests_per_second_per_token, per_project=limits.requests_per_second_per_project
    )


def room_limits(limits: LimitSettings, rates: RequestRates) -> RoomLimits:
    """The settings that bound each room."""
    return RoomLimits(
        connection=ConnectionLimits(
            max_message_bytes=limits.max_message_bytes,
            max_pending_requests=limits.max_pending_requests,
            max_pending_bytes=limits.max_pending_bytes,
            max_pushed_bytes=limits.max_buffered_bytes,
            drain_timeout=limits.drain_timeout,
            rates=rates,
            waiting=ByteBudget(limits.max_waiting_bytes, what="requests and answers that wait in the server"),
        ),
        max_waiting_bytes=limits.max_waiting_bytes_per_room,
        presence=ByteBudget(
            limits.max_presence_bytes, what="attributes and registrations of the participants of all rooms"
        ),
        max_presence_bytes=limits.max_presence_bytes_per_room,
        max_connections=limits.max_connections_per_room,
        max_file_bytes=limits.max_file_bytes,
        max_document_bytes=limits.max_document_bytes,
        max_queue_messages=limits.max_queue_messages,
        max_queue_bytes=limits.max_queue_bytes,
    )


def webhook_outbox(log: CommitLog, settings: WebhookSettings) -> SqliteOutbox:
    """The outbox of webhooks, with the configured bounds."""
    return SqliteOutbox(
        log,
        max_pending=settings.max_pending,
        max_pending_bytes=settings.max_pending_bytes,
        max_finished=settings.max_finished,
    )


def delivery_limits(settings: WebhookSettings) -> DeliveryLimits:
    """How long webhooks are tried."""
    days = settings.disable_after_days
    return DeliveryLimits(
        max_age=timedelta(hours=settings.max_age_hours),
        disable_after=timedelta(days=days) if days else None,
        keep=timedelta(days=settings.keep_days),
    )


def websocket_limits(limits: LimitSettings) -> WebSocketLimits:
    """The settings that bound each socket.

    `max_buffered_bytes` also is `ConnectionLimits.max_pushed_bytes`: a room's backlog makes senders wait before a
    socket reaches it.
    """
    return WebSocketLimits(
        max_message_bytes=limits.max_packet_bytes,
        max_buffered_bytes=limits.max_buffered_bytes,
        ping_interval=limits.ping_interval,
        ping_timeout=limits.ping_timeout,
    )


def livekit_server(config: ServerConfig) -> LivekitServer | None:
    """The configured LiveKit server, if all of it is configured."""
    livekit = config.livekit
    if livekit.url is None or livekit.api_key is None or livekit.api_secret is None:
        return None
    return LivekitServer(livekit.url, livekit.api_key, livekit.api_secret.get_secret_value())
