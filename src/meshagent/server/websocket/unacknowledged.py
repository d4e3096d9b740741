"""How much of what was sent the other side's system has not acknowledged: what a lost peer certainly never read."""

from __future__ import annotations

import asyncio
import socket
import sys

__all__ = ["unacknowledged_bytes"]


def unacknowledged_bytes(transport: asyncio.Transport) -> int | None:
    """Bytes that the system took and the peer's has not acknowledged; None where the system does not say."""
    if sys.platform != "linux":
        return None
    import fcntl
    import termios

    connection = transport.get_extra_info("socket")
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    if transport.get_extra_info("ssl_object") is not None:  # its bytes are not ours
        return None
    try:
        answer = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):  # closed meanwhile
        return None
    return int.from_bytes(answer, sys.byteorder)
