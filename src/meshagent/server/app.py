"""The composition root: builds a server from its configuration, starts it, and stops it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web

from meshagent.server.accounts.accounts import Surroundings, open_accounts
from meshagent.server.accounts.room_data import StoredRoomData
from meshagent.server.accounts.running import DirectoryRooms
from meshagent.server.config import LimitSettings, ServerConfig
from meshagent.server.furnishing import FurnishedRoom, RoomFurnisher, RoomLimits, RoomStores
from meshagent.server.gateway.accounts.table import account_routes
from meshagent.server.gateway.auth import Doorkeeper
from meshagent.server.gateway.documents import DocumentRoutes
from meshagent.server.gateway.files import FileRoutes
from meshagent.server.gateway.http_errors import error_middleware
from meshagent.server.gateway.limits import ConnectionGuard, HttpLimits
from meshagent.server.gateway.rooms import RoomDoor
from meshagent.server.gateway.signing import UrlSigner
from meshagent.server.gateway.status import ServerCollector, StatusRoutes
from meshagent.server.gateway.websocket import WebSocketLimits, WebSocketShell
from meshagent.server.identity import ServerIdentity, load_identity
from meshagent.server.rooms.connection import ConnectionLimits
from meshagent.server.rooms.directory import RoomDirectory
from meshagent.server.rooms.room import RoomKey
from meshagent.server.services.livekit import LivekitServer
from meshagent.server.stores.commit_log import CommitLog
from meshagent.server.stores.health import HealthMonitor
from meshagent.server.stores.local_files import LocalFileStores
from meshagent.server.stores.sqlite_documents import SqliteDocumentLog
from meshagent.server.stores.sqlite_queues import SqliteQueueStore
from meshagent.server.stores.sqlite_schema import ROOM_MIGRATIONS

log = logging.getLogger(__name__)


class DataFolderInUseError(Exception):
    """Another server works in the data folder; two would destroy each other's data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedServer:
    """A server that accepts connections.

    Attributes:
        url: Where its users reach it, `http://host:port` or the configured public URL.
        port: The port it listens on, also when a free one was asked for.
        identity: Its default project and key.
        health: What its stores report.
    """

    url: str
    port: int
    identity: ServerIdentity
    health: HealthMonitor
    directory: RoomDirectory[FurnishedRoom]


@asynccontextmanager
async def running_server(config: ServerConfig) -> AsyncIterator[StartedServer]:
    """A server for the length of the block; leaving it shuts down gracefully.

    Raises:
        DataFolderInUseError: Another server has the data folder.
        OSError: The address or the folder cannot be used.
    """
    async with AsyncExitStack() as stack:
        identity = await asyncio.to_thread(_open_data_folder, config, stack)
        health = HealthMonitor()
        stores = await _open_stores(config, health, stack)
        started = await _serve(config, identity, stores, health, stack)
        yield started


def run_server(config: ServerConfig, on_started: Callable[[StartedServer], None]) -> None:
    """Serve until SIGINT or SIGTERM; `on_started` is called once connections are accepted."""

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        async with running_server(config) as started:
            on_started(started)
            await stop.wait()
            log.info("stopping")

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not made for this platform; asyncio's own loop does the same, slower
        return None
    return uvloop.new_event_loop


def _open_data_folder(config: ServerConfig, stack: AsyncExitStack) -> ServerIdentity:
    config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    stack.enter_context(_folder_lock(config.data_dir / "server.lock"))
    return load_identity(config)


@contextlib.contextmanager
def _folder_lock(path: Path) -> Any:
    """Hold the data folder; the lock goes with the process, whatever ends it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise DataFolderInUseError(f"another server uses the data folder {path.parent}") from None
    try:
        yield
    finally:
        os.close(descriptor)


async def _open_stores(config: ServerConfig, health: HealthMonitor, stack: AsyncExitStack) -> RoomStores:
    commit_log = CommitLog(
        config.data_dir / "rooms.sqlite", ROOM_MIGRATIONS, durability=config.durability, health=health
    )
    await commit_log.open()
    stack.push_async_callback(commit_log.close)
    files = LocalFileStores(config.data_dir / "files", durability=config.durability, health=health)
    await files.start()
    stack.push_async_callback(files.close)
    return RoomStores(
        documents=SqliteDocumentLog(commit_log), queues=await SqliteQueueStore.open_store(commit_log), files=files
    )


async def _serve(
    config: ServerConfig,
    identity: ServerIdentity,
    stores: RoomStores,
    health: HealthMonitor,
    stack: AsyncExitStack,
) -> StartedServer:
    addresses = _Addresses(config)
    signer = UrlSigner(identity.secret.encode())
    limits = config.limits
    running_rooms = DirectoryRooms()
    surroundings = Surroundings(
        running=running_rooms,
        data=StoredRoomData(stores.documents, stores.queues, stores.files),
        files=stores.files,
        room_url=lambda project_id, room_name: addresses.room_url(RoomKey(project_id, room_name)),
    )
    accounts = await stack.enter_async_context(open_accounts(config, identity, health, surroundings))
    furnisher = RoomFurnisher(
        stores=stores,
        room_url=addresses.room_url,
        download_url=lambda key, path, download: (
            addresses.http + signer.sign(key.project_id, key.room_name, path, download=download)
        ),
        limits=_room_limits(limits),
        livekit=_livekit(config),
        registry=accounts.rooms,
        sessions=accounts.sessions,
    )
    directory = RoomDirectory(furnisher.make, idle_grace=config.idle_grace)
    running_rooms.directory = directory
    shell = WebSocketShell(
        WebSocketLimits(
            max_message_bytes=limits.max_packet_bytes,
            max_buffered_bytes=limits.max_buffered_bytes,
            ping_interval=limits.ping_interval,
            ping_timeout=limits.ping_timeout,
        )
    )
    doorkeeper = Doorkeeper(
        lookup=accounts.keys.lookup,
        default_secret=identity.secret,
        default_project_id=identity.project_id,
        now=time.time,
    )
    door = RoomDoor(doorkeeper, directory, shell)
    http_limits = HttpLimits(head_timeout=limits.http_head_timeout)
    guard = ConnectionGuard(http_limits)
    application = web.Application(middlewares=[guard.middleware, error_middleware])
    application.add_routes(
        [
            web.get("/rooms/{room}", door.enter),
            *DocumentRoutes(door).routes(),
            *FileRoutes(door, signer).routes(),
            *account_routes(accounts, doorkeeper),
            *StatusRoutes(health, ServerCollector(directory, shell, health), metrics=config.metrics).routes(),
        ]
    )
    runner = web.AppRunner(
        application, access_log=None, shutdown_timeout=config.shutdown_grace, **http_limits.runner_options()
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    stack.callback(guard.close)
    stack.push_async_callback(shell.close)
    stack.push_async_callback(directory.close, drop=True)
    assert runner.server is not None
    guard.start(runner.server)
    site = web.TCPSite(runner, config.host, config.port, backlog=4096)
    await site.start()
    port = int(runner.addresses[0][1])
    addresses.listening_on(port)
    return StartedServer(url=addresses.http, port=port, identity=identity, health=health, directory=directory)


def _room_limits(limits: LimitSettings) -> RoomLimits:
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


def _livekit(config: ServerConfig) -> LivekitServer | None:
    livekit = config.livekit
    if livekit.url is None or livekit.api_key is None or livekit.api_secret is None:
        return None
    return LivekitServer(livekit.url, livekit.api_key, livekit.api_secret.get_secret_value())


class _Addresses:
    """URLs of the server; complete once the port is known."""

    def __init__(self, config: ServerConfig) -> None:
        self._host = config.host
        self.http = config.public_url or ""

    def listening_on(self, port: int) -> None:
        if not self.http:
            host = {"0.0.0.0": "localhost", "::": "localhost"}.get(self._host, self._host)  # noqa: S104 - compared only
            self.http = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def room_url(self, key: RoomKey) -> str:
        """The WebSocket URL of a room."""
        return "ws" + self.http.removeprefix("http") + "/rooms/" + quote(key.room_name, safe="")
