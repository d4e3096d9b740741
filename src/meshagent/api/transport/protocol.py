"""The message layer of a connection: messages with ids and types, over any transport of packets."""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Final, Self

from meshagent.api.errors import ConnectionLostError, RoomException
from meshagent.api.transport._handlers import Handler, HandlerOverflowError, HandlerTable
from meshagent.api.transport._outgoing import OutgoingQueue
from meshagent.api.wire.close_codes import CloseCode
from meshagent.api.wire.packets import Message, Reassembler, count_packets, iter_packets

__all__ = ["ClientProtocol", "Message", "MessageHandler", "Protocol", "compute_packets"]

log = logging.getLogger(__name__)

ABNORMAL_CLOSURE: Final = 1006
"""Close code of a connection that broke: no close frame was received."""

MAX_OUTGOING_BYTES: Final = 8 * 1024 * 1024
MAX_INCOMING_MESSAGE: Final = 1024 * 1024 * 1024
DRAIN_TIMEOUT: Final = 5.0


def compute_packets(data: bytes) -> int:
    """The number of data packets that a message with this data takes."""
    return count_packets(len(data))


class Protocol:
    """One end of a connection, an async context manager that may be entered more than once.

    Entries are counted: the outermost entry connects and the outermost exit disconnects. Entering again after
    that connects anew. A transport is a subclass that overrides `open_transport`,
    `read_packets`, `send_packet` and `close_transport`.

    Args:
        read: False for an end that only sends.
        write: False for an end that only receives.

    Attributes:
        can_reopen: Whether `reopen` can connect again after the connection was lost; a property of the class.
        close_code: WebSocket close code of the last connection, 1006 if it broke; None before a connection has ended.
    """

    can_reopen: bool = False

    def __init__(self, *, read: bool = True, write: bool = True) -> None:
        self._read = read
        self._write = write
        self._entries = 0
        self._entering = asyncio.Lock()
        self._next_id = 0
        self._handlers = HandlerTable(self)
        self._reassembler = Reassembler(MAX_INCOMING_MESSAGE)
        self._outgoing = OutgoingQueue(MAX_OUTGOING_BYTES)
        self._outgoing.close()
        self._closed = asyncio.Event()
        self._closed.set()
        self._reader: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self.close_code: int | None = None

    # -- what a transport overrides

    async def open_transport(self) -> None:
        """Connect. Overridden by transports, as are the next three."""

    async def read_packets(self) -> int:
        """Pass each packet that arrives to `receive_packet`; return the close code when the connection has ended."""
        await self._closed.wait()
        return CloseCode.NORMAL

    async def send_packet(self, data: bytes) -> None:
        """Send one packet, waiting while the transport is busy."""
        raise NotImplementedError(f"{type(self).__name__} must implement send_packet()")

    async def close_transport(self) -> None:
        """Disconnect. Called also after a failed or lost connection."""

    def is_temporary(self, error: Exception) -> bool:
        """Whether connecting may succeed later, after it failed with `error`: a network error, not a refusal."""
        return error.retryable if isinstance(error, RoomException) else isinstance(error, (OSError, TimeoutError))

    # -- connecting

    @property
    def is_open(self) -> bool:
        """Whether there is a connection that neither end has closed; false before the first entry."""
        return not self._closed.is_set()

    async def __aenter__(self) -> Self:
        async with self._entering:
            if self._entries == 0:
                self._next_id = 0
                await self._connect()
            self._entries += 1
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        async with self._entering:
            self._entries -= 1
            if self._entries == 0:
                try:
                    await self._disconnect()
                finally:
                    await self._handlers.close()

    async def reopen(self) -> None:
        """Connect again after the connection was lost. Handlers stay; no message is sent again.

        Raises:
            ConnectionLostError: The protocol was exited, or cannot connect twice; other errors as on entry.
        """
        async with self._entering:
            if not self._entries or not self.can_reopen:
                raise ConnectionLostError("this connection cannot be reopened")
            await self._disconnect()
            await self._connect()

    async def wait_for_close(self) -> None:
        """Return when the connection has ended, or at once if there is none."""
        await self._closed.wait()

    def close(self) -> None:
        """Refuse messages from now on; those that are queued are still sent. The transport closes on exit."""
        self._end(CloseCode.NORMAL, discard=False)

    async def _connect(self) -> None:
        self._reassembler = Reassembler(MAX_INCOMING_MESSAGE)
        self._outgoing = OutgoingQueue(MAX_OUTGOING_BYTES)
        self._handlers.new_connection()
        try:
            await self.open_transport()
        except BaseException:
            self._outgoing.close(discard=True)
            await self.close_transport()
            raise
        self.close_code = None
        self._closed.clear()
        loop = asyncio.get_running_loop()
        self._reader = loop.create_task(self._run_reader()) if self._read else None
        self._writer = loop.create_task(self._run_writer()) if self._write else None

    async def _disconnect(self) -> None:
        """Send what is queued, for a few seconds at most, then end the tasks and the transport."""
        self.close()
        try:
            if self._writer is not None:
                await asyncio.wait([self._writer], timeout=DRAIN_TIMEOUT)
        finally:
            current = asyncio.current_task()
            tasks = [task for task in (self._reader, self._writer) if task is not None and task is not current]
            self._reader = self._writer = None
            for task in tasks:
                task.cancel()
            try:
                if tasks:
                    await asyncio.wait(tasks)
            finally:  # also when cancelled, else nobody closes the socket
                await self.close_transport()

    def _end(self, code: int, *, discard: bool) -> None:
        """Mark the connection as ended. The first close code stays."""
        self._outgoing.close(discard=discard)
        if not self._closed.is_set():
            self.close_code = code
            self._closed.set()

    # -- receiving

    def register_handler(self, type: str, fn: MessageHandler) -> None:
        """Hand messages of a type to `fn(protocol, message_id, type, data)`; type `*` takes all others.

        Messages of that type that arrived without a handler are passed first.

        Raises:
            InvalidStateError: The type has a handler.
        """
        self._handlers.register(type, fn)

    def unregister_handler(self, type: str, fn: MessageHandler) -> None:
        """Undo `register_handler`.

        Raises:
            InvalidStateError: `fn` is not the handler of that type.
        """
        self._handlers.unregister(type, fn)

    def receive_packet(self, data: bytes) -> None:
        """Process a packet from the transport; a message that it completes goes to its handler."""
        message = self._reassembler.receive(data)
        if message is None:
            message = self._reassembler.oversized
            if message is None:
                return
            # Its handler gets it without data, so that a request is answered with an error instead of never.
            self._reassembler.oversized = None
            log.error("dropped the data of message %d of type %r: it is too large", message.id, message.type)
        try:
            self._handlers.dispatch(message)
        except HandlerOverflowError as error:
            log.error("closing the connection: %s", error)
            self._end(CloseCode.POLICY, discard=True)

    async def _run_reader(self) -> None:
        code: int = ABNORMAL_CLOSURE
        try:
            code = await self.read_packets()
        except OSError as error:
            log.info("connection lost: %s", error)
        except Exception:
            log.exception("reading from the connection failed")
        finally:
            self._end(code, discard=True)

    # -- sending

    def next_message_id(self) -> int:
        """The next message id of this end; ids start at 1."""
        self._next_id += 1
        return self._next_id

    async def send(self, type: str, data: bytes | str, message_id: int | None = None) -> int:
        """Queue a message and return its id, without waiting for its transmission.

        Args:
            type: The message's type.
            data: Its data; text is encoded as UTF-8.
            message_id: For answers, the id of the request; by default the next id.

        Waits while more than 8 MiB of earlier messages are unsent.

        Raises:
            ChanClosed: The connection is closed, or ended while this waited.
        """
        message = self._message(type, data, message_id)
        await self._outgoing.put(message)
        return message.id

    def send_nowait(self, type: str, data: bytes | str, message_id: int | None = None) -> int:
        """As `send`, without waiting.

        Raises:
            ChanClosed: The connection is closed.
            ChanFull: `send` would wait.
        """
        message = self._message(type, data, message_id)
        self._outgoing.put_nowait(message)
        return message.id

    def _message(self, message_type: str, data: bytes | str, message_id: int | None) -> Message:
        encoded = data.encode() if isinstance(data, str) else data
        return Message(self.next_message_id() if message_id is None else message_id, message_type, encoded)

    async def _run_writer(self) -> None:
        outgoing = self._outgoing
        try:
            while (message := await outgoing.next()) is not None:
                for packet in iter_packets(message.id, message.type, message.data):
                    await self.send_packet(packet)
                outgoing.written(message)
        except OSError as error:
            log.info("connection lost: %s", error)
            self._end(ABNORMAL_CLOSURE, discard=True)
        except Exception:
            log.exception("writing to the connection failed")
            self._end(ABNORMAL_CLOSURE, discard=True)


MessageHandler = Handler[Protocol]
"""Called with the protocol, message id, type and data of a message; may be a coroutine function."""


class ClientProtocol(Protocol):
    """The participant's end of a connection, with its participant token."""

    def __init__(self, *, token: str) -> None:
        super().__init__()
        self._token = token

    @property
    def token(self) -> str:
        """The participant token."""
        return self._token
