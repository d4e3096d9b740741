"""A client that floods a room from threads of its own, with requests that are built once."""

from __future__ import annotations

import base64
import secrets
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress

SOCKET_TIMEOUT = 0.2


class Flood:
    """Sends frames over and over, and throws away what comes back.

    Args:
        port: The server's port.
        path: The room with the token, as a request line names it.
        setup: Frames that are sent once, before.
        frames: What is sent over and over.
    """

    def __init__(self, port: int, path: str, setup: Sequence[bytes], frames: Sequence[bytes]) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        self._socket.recv(65536)
        self._socket.settimeout(SOCKET_TIMEOUT)
        for frame in setup:
            self._socket.sendall(frame)
            self._read_some()
        self._block = b"".join(frames)
        self._stop = threading.Event()
        self.bytes_sent = 0
        self.was_cut = False
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._send, self._receive)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the connection."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def _read_some(self) -> None:
        with suppress(TimeoutError):
            self._socket.recv(1 << 20)

    def _send(self) -> None:
        view = memoryview(self._block)
        position = 0
        while not self._stop.is_set():
            try:
                sent = self._socket.send(view[position:])
            except TimeoutError:
                continue
            except OSError:
                self.was_cut = True
                return
            self.bytes_sent += sent
            position = (position + sent) % len(view)

    def _receive(self) -> None:
        buffer = bytearray(1 << 20)
        while not self._stop.is_set():
            try:
                if not self._socket.recv_into(buffer):
                    return
            except TimeoutError:
                continue
            except OSError:
                return
