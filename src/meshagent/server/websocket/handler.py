"""The two ends of a WebSocket connection: whoever sends and receives frames, and whoever handles the messages.

Both are ports, so that the end which handles a connection may be in another process than the socket.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["ClientSocket", "WebSocketHandler"]


class ClientSocket(Protocol):
    """A client's connection as its handler sees it. Use it on its loop only; nothing here waits."""

    @property
    def buffered(self) -> int:
        """Bytes waiting to be sent."""
        ...

    @property
    def taken(self) -> int:
        """Bytes that the operating system has taken so far; it grows while the client reads."""
        ...

    @property
    def congested(self) -> bool:
        """Whether more than 64 KiB wait. Bulk senders stop while it is true and go on in `writable`."""
        ...

    async def drained(self) -> bool:
        """Wait until nothing waits to be sent; False if the connection ended before."""
        ...

    def write(self, frames: bytes) -> None:
        """Send whole frames; a connection is cut if too much waits already. See `WebSocket.write`."""
        ...

    def close(self, code: int = ..., reason: str = ...) -> None:
        """Send what waits, then a close frame; `lost` follows."""
        ...

    def drop(self, code: int = ..., reason: str = ...) -> None:
        """Cut the TCP connection without a close frame, discarding what waits; current clients reconnect.

        `lost` follows with `code` and `reason`.
        """
        ...

    @property
    def sent_bytes(self) -> int:
        """Bytes that were given to `write` so far."""
        ...

    @property
    def acknowledged(self) -> int | None:
        """Bytes that the client's system had received when the connection was cut; None if that is not known."""
        ...

    def seems_present(self) -> bool:
        """Whether the client seems to be there; asks it, if nothing was heard of it for a few seconds."""
        ...

    def pause_reading(self) -> None:
        """Stop reading from the peer, and delivering what has been read; a message being delivered is the last."""
        ...

    def resume_reading(self) -> None:
        """Undo `pause_reading`."""
        ...


class WebSocketHandler(Protocol):
    """What a connection's owner does. Called on the loop, one call at a time; must not block.

    Subclass it: the last two methods have defaults. An exception from a method is logged and closes
    the connection with 1011.
    """

    def connected(self, socket: ClientSocket) -> None:
        """The handshake is done; `socket` may be written to. Always the first call."""
        ...

    def received(self, message: bytes) -> None:
        """One whole binary message, in order of arrival."""
        ...

    def lost(self, code: int, reason: str) -> None:
        """The connection has ended for you; exactly once, the last call, never from within a call of yours.

        `code` is what ended it: the peer's close code (1005 if it gave none), 1006 if the TCP
        connection broke, 1002/1003/1007/1009 if the peer broke the protocol, 1013 if it was cut as
        too slow, or the code given to `ClientSocket.close`.
        """
        ...

    def received_text(self, text: str) -> bool:
        """One whole text message; True if you took it. By default it closes the connection with 1003."""
        return False

    def writable(self) -> None:
        """A congested connection has drained; see `ClientSocket.congested`."""
