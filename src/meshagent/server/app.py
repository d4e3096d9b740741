"""Starts a server from its configuration, and stops it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from meshagent.server.accounts.accounts import Accounts
from meshagent.server.addresses import Addresses
from meshagent.server.assembly import Assembly, Rooms, ServerBase, assembled, open_stores, request_rates
from meshagent.server.config import ServerConfig
from meshagent.server.identity import ServerIdentity, load_identity
from meshagent.server.kernel.garbage_collection import short_collections
from meshagent.server.kernel.loop_watch import LoopWatch
from meshagent.server.logs import configure_logging
from meshagent.server.stores.data_folder import data_folder_error, make_private
from meshagent.server.stores.disk import lock_file
from meshagent.server.stores.errors import StoreFailedError
from meshagent.server.stores.health import HealthMonitor

log = logging.getLogger(__name__)

_BACKLOG = 4096
_NOT_ON_THIS_MACHINE = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""`localhost` has an IPv6 address by name also where IPv6 is switched off."""


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
        rooms: Its rooms.
        accounts: Its projects, keys and records.
        local_url: Where programs on this machine reach it.
        loop_watch: Measures the turns of its event loop.
    """

    url: str
    port: int
    identity: ServerIdentity
    health: HealthMonitor
    rooms: Rooms
    accounts: Accounts
    local_url: str
    loop_watch: LoopWatch


@asynccontextmanager
async def running_server(config: ServerConfig) -> AsyncIterator[StartedServer]:
    """A server for the length of the block; leaving it shuts down gracefully.

    Raises:
        DataFolderInUseError: Another server has the data folder.
        DataFolderError: The disk of the data folder is full or broken.
        OSError: The address or the folder cannot be used.
    """
    async with AsyncExitStack() as stack:
        try:
            started = await _start(config, stack)
        except (OSError, StoreFailedError) as error:
            raise data_folder_error(config.data_dir, error) from error
        yield started


async def _start(config: ServerConfig, stack: AsyncExitStack) -> StartedServer:
    identity = await asyncio.to_thread(_open_data_folder, config, stack)
    sockets = await asyncio.to_thread(_bind, config.host, config.port)
    for bound in sockets:
        stack.callback(bound.close)
    port = int(sockets[0].getsockname()[1])
    health = HealthMonitor()
    watch = LoopWatch()
    watch.start()
    stack.callback(watch.close)
    stores = await stack.enter_async_context(open_stores(config, health))
    addresses = Addresses(config, port)
    base = ServerBase(
        config=config,
        identity=identity,
        stores=stores,
        health=health,
        addresses=addresses,
        loop_watch=watch,
        rates=request_rates(config.limits),
    )
    assembly = await stack.enter_async_context(assembled(base))
    await _listen(assembly, config, sockets, stack)
    stack.callback(stores.tables.stopping, config.shutdown_grace)
    return StartedServer(
        url=addresses.public,
        port=port,
        identity=identity,
        health=health,
        rooms=assembly.rooms,
        accounts=assembly.accounts,
        local_url=addresses.local,
        loop_watch=watch,
    )


Companion = Callable[[StartedServer], AbstractAsyncContextManager[None]]
"""What a program does beside its server: entered once connections are accepted, left before the server stops."""


def run_server(config: ServerConfig, beside: Companion) -> None:
    """Serve until SIGINT or SIGTERM; errors as `running_server`.

    Args:
        config: The configuration.
        beside: What to do meanwhile.
    """
    configure_logging(config.log_level, config.log_format)
    os.umask(0o077)  # files of engines and libraries, too, are this user's alone

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        watches: list[LoopWatch] = []

        def collected(seconds: float) -> None:
            for watch in watches:
                watch.collected(seconds)

        with short_collections(collected):  # the first and longest collection is over before anybody can connect
            async with running_server(config) as started, beside(started):
                watches.append(started.loop_watch)
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
    make_private(config.data_dir)
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


def _bind(host: str, port: int) -> list[socket.socket]:
    """Sockets on every address of a host, all on one port, which nobody can connect to yet.

    So the port is known before the first part that tells others about it is made.
    """
    addresses = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    bound: list[socket.socket] = []
    failure = OSError(f"{host} has no address")
    try:
        for family, _, _, _, address in dict.fromkeys(addresses):
            chosen = (address[0], bound[0].getsockname()[1] if bound else port, *address[2:])
            try:
                bound.append(_bind_one(family, chosen))
            except OSError as error:
                if error.errno not in _NOT_ON_THIS_MACHINE:
                    raise
                failure = error
    except BaseException:
        for one in bound:
            one.close()
        raise
    if not bound:
        raise failure
    return bound


def _bind_one(family: int, address: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
        made.setblocking(False)
        made.bind(address)
    except OSError as error:
        made.close()
        raise OSError(error.errno, f"cannot listen on {address[0]}:{address[1]}: {error.strerror}") from None
    return made


async def _listen(
    assembly: Assembly, config: ServerConfig, sockets: Sequence[socket.socket], stack: AsyncExitStack
) -> None:
    """Accept connections; on the way out, first accept no more of them, then end the rooms, then everything else.

    Somebody whom the end of a room cuts off comes back at once: let in, it would be cut in the middle of a handshake.
    """
    options = assembly.http_limits.runner_options()
    runner = web.AppRunner(assembly.application, access_log=None, shutdown_timeout=config.shutdown_grace, **options)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    stack.callback(assembly.guard.close)
    stack.push_async_callback(assembly.shell.close)
    stack.push_async_callback(assembly.rooms.directory.close, drop=True)
    assert runner.server is not None
    assembly.guard.start(runner.server)
    for bound in sockets:
        site = web.SockSite(runner, bound, backlog=_BACKLOG)
        await site.start()
        stack.push_async_callback(site.stop)
