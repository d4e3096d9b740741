"""Sends parts of files from the page cache to a socket without copying them into Python, on any event loop.

uvloop has no `sendfile`. Here the socket's descriptor is duplicated, a thread calls `os.sendfile` until the
socket is full, and the loop waits until it can take more: a slow receiver holds no thread.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

__all__ = ["can_sendfile", "sendfile"]

_CALL_BYTES: Final = 8 * 1024 * 1024  # one call ends earlier when the socket is full, as it is soon


def can_sendfile(transport: asyncio.Transport) -> bool:
    """Whether bytes may go to the transport's socket directly: plain TCP or a local socket, no TLS."""
    if not hasattr(os, "sendfile") or transport.get_extra_info("sslcontext") is not None:
        return False
    connection = transport.get_extra_info("socket")
    return connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)


async def sendfile(
    transport: asyncio.Transport,
    drain: Callable[[], Awaitable[None]],
    descriptor: int,
    start: int,
    stop: int,
    *,
    stall_timeout: float,
) -> None:
    """Send bytes `start … stop` of an open file after what the transport has buffered.

    Nobody else may write to the transport meanwhile. If this raises, some bytes may have left: abort the
    transport.

    Args:
        transport: The connection.
        drain: Waits while the transport's protocol is paused, as `drain` of asyncio's and aiohttp's stream writers.
        descriptor: The file.
        start: First byte.
        stop: The byte after the last one.
        stall_timeout: Longest time in seconds in which the peer takes nothing.

    Raises:
        ConnectionError: The peer is gone, or the file is shorter than `stop`.
        TimeoutError: The peer took nothing for `stall_timeout` seconds.
    """
    async with asyncio.timeout(stall_timeout):
        await _flushed(transport, drain)
    loop = asyncio.get_running_loop()
    output = os.dup(transport.get_extra_info("socket").fileno())
    sending: asyncio.Future[int] | None = None
    try:
        while start < stop:
            if transport.is_closing():  # the duplicate alone would keep the connection open
                raise ConnectionResetError("the connection ended during a download")
            sending = loop.run_in_executor(None, _send_until_full, output, descriptor, start, stop)
            await asyncio.wait([sending])  # who is cancelled here leaves it at work: see below
            start += sending.result()
            if start < stop:
                async with asyncio.timeout(stall_timeout):
                    await _writable(loop, output)
    finally:
        if sending is None or sending.done():
            _end(output, sending)
        else:  # cancelled: the thread still uses the descriptor
            sending.add_done_callback(partial(_end, output))
            await asyncio.wait([sending])  # and the file's, which the caller is about to close


def _end(output: int, sending: asyncio.Future[int] | None) -> None:
    os.close(output)
    if sending is not None and not sending.cancelled():
        sending.exception()  # a download that was cancelled asks no more how it went


def _send_until_full(output: int, source: int, start: int, stop: int) -> int:
    """Bytes that the socket took; 0 if it was full. Runs in a thread."""
    offset = start
    while offset < stop:
        try:
            sent = os.sendfile(output, source, offset, min(stop - offset, _CALL_BYTES))
        except BlockingIOError:
            break
        if sent == 0:
            raise ConnectionAbortedError("the file became shorter while it was sent")
        offset += sent
    return offset - start


async def _writable(loop: asyncio.AbstractEventLoop, output: int) -> None:
    ready = asyncio.Event()
    loop.add_writer(output, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(output)


async def _flushed(transport: asyncio.Transport, drain: Callable[[], Awaitable[None]]) -> None:
    """Wait until the transport has handed everything to the system."""
    if transport.get_write_buffer_size() and not transport.is_closing():
        transport.set_write_buffer_limits(high=0)  # pauses its protocol until nothing is left
        await drain()
    if transport.is_closing():
        raise ConnectionResetError("the connection ended before a download")
    transport.set_write_buffer_limits()
