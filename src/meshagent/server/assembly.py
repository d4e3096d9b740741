"""How the parts of a server fit together. Only this module and `room_factory` name concrete classes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from meshagent.server.accounts.accounts import Accounts, AccountsPorts, open_accounts
from meshagent.server.accounts.room_data import StoredRoomData
from meshagent.server.accounts.running_rooms import DirectoryRooms
from meshagent.server.addresses import Addresses
from meshagent.server.config import LimitSettings, ServerConfig
from meshagent.server.demo import DemoRoom
from meshagent.server.gateway.accounts.rest_api import account_routes
from meshagent.server.gateway.auth import RoomAuthenticator
from meshagent.server.gateway.builtin_target_routes import BuiltInTargetRoutes
from meshagent.server.gateway.document_routes import DocumentRoutes
from meshagent.server.gateway.file_routes import FileRoutes
from meshagent.server.gateway.http_errors import error_middleware
from meshagent.server.gateway.limits import ConnectionGuard, HttpLimits
from meshagent.server.gateway.llm_proxy import LlmProxyRoutes
from meshagent.server.gateway.llm_usage import LlmUsage, LlmUsageTotals
from meshagent.server.gateway.mcp_routes import McpRoutes
from meshagent.server.gateway.room_gateway import RoomGateway
from meshagent.server.gateway.status_routes import ServerCollector, StatusRoutes
from meshagent.server.identity import ServerIdentity
from meshagent.server.integrations import open_integrations
from meshagent.server.kernel.room_key import RoomKey
from meshagent.server.kernel.url_signing import UrlSigner
from meshagent.server.room_factory import RoomFactory, RoomLimits, RoomStores, RoomWithServices
from meshagent.server.rooms.connection import ConnectionLimits
from meshagent.server.rooms.directory import RoomDirectory
from meshagent.server.services.livekit import LivekitServer
from meshagent.server.stores.commit_log import CommitLog
from meshagent.server.stores.health import HealthMonitor
from meshagent.server.stores.local_files import LocalFileStores
from meshagent.server.stores.sqlite_documents import SqliteDocumentLog
from meshagent.server.stores.sqlite_queues import SqliteQueueStore
from meshagent.server.stores.sqlite_schema import ROOM_MIGRATIONS
from meshagent.server.stores.tables.table_engine import TableEngine
from meshagent.server.webhooks.deliveries import MemoryDeliveryLog, RoomLoggedDeliveries
from meshagent.server.websocket.shell import WebSocketLimits, WebSocketShell


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """A server that is ready to listen."""

    application: web.Application
    http_limits: HttpLimits
    guard: ConnectionGuard
    shell: WebSocketShell
    directory: RoomDirectory[RoomWithServices]
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
            tables = TableEngine(config.data_dir / "tables", durability=config.durability, health=health)
            yield RoomStores(documents=SqliteDocumentLog(commit_log), queues=queues, files=files, tables=tables)
        finally:
            await files.close()
    finally:
        await commit_log.close()


@asynccontextmanager
async def assembled(
    config: ServerConfig, identity: ServerIdentity, stores: RoomStores, health: HealthMonitor, addresses: Addresses
) -> AsyncIterator[Assembly]:
    """All parts of a server but its listening socket; leaving the block ends its rooms, then everything else."""
    running = DirectoryRooms()
    ports = AccountsPorts(
        running=running,
        data=StoredRoomData(stores.documents, stores.queues, stores.files, stores.tables),
        files=stores.files,
        room_url=lambda project_id, room_name: addresses.room_url(RoomKey(project_id, room_name)),
    )
    webhook_secret = config.webhook_secret.get_secret_value() if config.webhook_secret else identity.secret
    async with (
        open_accounts(config, identity, health, ports) as accounts,
        open_integrations(
            config.outgoing,
            webhooks=accounts.webhooks,
            services=accounts.external_services,
            tokens=accounts.tokens,
            secret=webhook_secret,
            room_url=ports.room_url,
            own_urls=addresses.own,
            deliveries=RoomLoggedDeliveries(MemoryDeliveryLog(), running.record),
        ) as integrations,
    ):
        demo = DemoRoom(identity.project_id, accounts.tokens, addresses) if config.demo else None
        signer = UrlSigner(identity.secret.encode())
        factory = RoomFactory(
            stores=stores,
            addresses=addresses,
            signer=signer,
            limits=room_limits(config.limits),
            livekit=livekit_server(config),
            registry=accounts.rooms,
            sessions=accounts.sessions,
            integrations=integrations,
            services=accounts.external_services,
            demo=demo,
        )
        directory = RoomDirectory(factory.make, idle_grace=config.idle_grace)
        running.directory = directory
        shell = WebSocketShell(websocket_limits(config.limits))
        authenticator = RoomAuthenticator(
            lookup=accounts.keys.lookup,
            default_secret=identity.secret,
            default_project_id=identity.project_id,
            now=time.time,
        )
        door = RoomGateway(authenticator, directory, shell, join_timeout=config.limits.join_timeout)
        llm_usage = LlmUsageTotals()
        llm = LlmProxyRoutes(authenticator, config.llm, on_usage=lambda usage: _note_usage(directory, llm_usage, usage))
        mcp = McpRoutes(door, call_timeout=config.limits.tool_call_timeout)
        collectors = (ServerCollector(directory, shell, health), llm_usage)
        http_limits = HttpLimits(head_timeout=config.limits.http_head_timeout)
        guard = ConnectionGuard(http_limits)
        application = web.Application(middlewares=[guard.middleware, error_middleware])
        application.add_routes(
            [
                web.get("/rooms/{room}", door.enter),
                *DocumentRoutes(door).routes(),
                *FileRoutes(door, signer).routes(),
                *BuiltInTargetRoutes(authenticator, directory, integrations.targets).routes(),
                *account_routes(accounts, authenticator),
                *llm.routes(),
                *mcp.routes(),
                *StatusRoutes(health, collectors, metrics=config.metrics).routes(),
            ]
        )
        await llm.start()
        try:
            yield Assembly(
                application=application,
                http_limits=http_limits,
                guard=guard,
                shell=shell,
                directory=directory,
                accounts=accounts,
            )
        finally:
            if demo is not None:
                await demo.close()
            await mcp.close()
            await llm.close()


def _note_usage(directory: RoomDirectory[RoomWithServices], totals: LlmUsageTotals, usage: LlmUsage) -> None:
    """Count what a model cost, and write it into the log of the rooms that it was used from."""
    totals.add(usage)
    for room_name in usage.rooms:
        room = directory.find(RoomKey(usage.project_id, room_name))
        if room is not None:
            room.record(
                "llm.usage",
                {
                    "participant": usage.participant,
                    "model": usage.model,
                    "input_tokens": usage.input_tokens,
                    "output_tokens": usage.output_tokens,
                },
            )


def room_limits(limits: LimitSettings) -> RoomLimits:
    """The settings that bound each room."""
    return RoomLimits(
        connection=ConnectionLimits(
            max_message_bytes=limits.max_message_bytes,
            max_pending_requests=limits.max_pending_requests,
            max_pending_bytes=limits.max_pending_bytes,
            max_buffered_bytes=limits.max_buffered_bytes,
        ),
        max_connections=limits.max_connections_per_room,
        max_file_bytes=limits.max_file_bytes,
        max_document_bytes=limits.max_document_bytes,
        max_queue_messages=limits.max_queue_messages,
    )


def websocket_limits(limits: LimitSettings) -> WebSocketLimits:
    """The settings that bound each socket."""
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
