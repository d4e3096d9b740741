"""Starts a server from its configuration, and stops it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from meshagent.server.accounts.accounts import Accounts
from meshagent.server.addresses import Addresses
from meshagent.server.assembly import Assembly, assembled, open_stores
from meshagent.server.config import ServerConfig
from meshagent.server.identity import ServerIdentity, load_identity
from meshagent.server.logs import configure_logging
from meshagent.server.room_factory import RoomWithServices
from meshagent.server.rooms.directory import RoomDirectory
from meshagent.server.stores.disk import lock_file
from meshagent.server.stores.health import HealthMonitor

log = logging.getLogger(__name__)

_BACKLOG = 4096


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
        directory: Its rooms.
        accounts: Its projects, keys and records.
    """

    url: str
    port: int
    identity: ServerIdentity
    health: HealthMonitor
    directory: RoomDirectory[RoomWithServices]
    accounts: Accounts


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
        addresses = Addresses(config)
        stores = await stack.enter_async_context(open_stores(config, health))
        assembly = await stack.enter_async_context(assembled(config, identity, stores, health, addresses))
        port = await _listen(assembly, config, stack)
        addresses.listening_on(port)
        yield StartedServer(
            url=addresses.public,
            port=port,
            identity=identity,
            health=health,
            directory=assembly.directory,
            accounts=assembly.accounts,
        )


def run_server(config: ServerConfig, on_started: Callable[[StartedServer], None]) -> None:
    """Serve until SIGINT or SIGTERM; `on_started` is called once connections are accepted."""
    configure_logging(config.log_level, config.log_format)

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
def _folder_lock(path: Path) -> Iterator[None]:
    """Hold the data folder; the lock goes with the process, whatever ends it."""
    try:
        descriptor = lock_file(path)
    except BlockingIOError:
        raise DataFolderInUseError(f"another server uses the data folder {path.parent}") from None
    try:
        yield
    finally:
        os.close(descriptor)


async def _listen(assembly: Assembly, config: ServerConfig, stack: AsyncExitStack) -> int:
    """Accept connections; on the way out, end the rooms first, so that nobody is cut in the middle of a write."""
    options = assembly.http_limits.runner_options()
    runner = web.AppRunner(assembly.application, access_log=None, shutdown_timeout=config.shutdown_grace, **options)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    stack.callback(assembly.guard.close)
    stack.push_async_callback(assembly.shell.close)
    stack.push_async_callback(assembly.directory.close, drop=True)
    assert runner.server is not None
    assembly.guard.start(runner.server)
    site = web.TCPSite(runner, config.host, config.port, backlog=_BACKLOG)
    await site.start()
    return int(runner.addresses[0][1])
