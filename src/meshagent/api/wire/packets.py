"""Packets: how one message is cut for the WebSocket and put together again (protocol 1.4 to 1.7).

A message is a header packet, `id (8) | 0 (4) | number of data packets (4) | type, UTF-8`, followed by that
many data packets, `id (8) | index from 1 (4) | bytes`. All integers are big-endian. Nothing here does I/O.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

DATA_SIZE: Final = 64 * 1024
"""Bytes of data in a packet that we send. Receivers take any size; old clients drop connections over 4 MiB."""

MAX_PACKET_SIZE: Final = 4 * 1024 * 1024
"""The largest packet, prefix included, that existing clients accept (protocol 1.3)."""

DEFAULT_MAX_MESSAGE_SIZE: Final = 64 * 1024 * 1024
"""Bytes of data that a receiver assembles for one message before it gives the message up."""

_MAX_TYPE_BYTES: Final = 512
_HEADER = struct.Struct(">QII")
_DATA = struct.Struct(">QI")


class Message(NamedTuple):
    """One whole message: its id in the sender's numbering, its type, and its data."""

    id: int
    type: str
    data: bytes


def header_packet(message_id: int, message_type: bytes, packet_count: int) -> bytes:
    """The packet that announces a message of `packet_count` data packets."""
    return _HEADER.pack(message_id, 0, packet_count) + message_type


def data_packet(message_id: int, index: int, data: bytes | memoryview) -> bytes:
    """Data packet number `index`, counted from 1."""
    return b"".join((_DATA.pack(message_id, index), data))


def count_packets(size: int, data_size: int = DATA_SIZE) -> int:
    """How many data packets `size` bytes take; none for an empty message."""
    return -(-size // data_size)


def iter_packets(message_id: int, message_type: str, data: bytes, data_size: int = DATA_SIZE) -> Iterator[bytes]:
    """The packets of one message in the order in which they must be sent, never mixed with another message's."""
    count = count_packets(len(data), data_size)
    yield header_packet(message_id, message_type.encode(), count)
    if count == 1:
        yield data_packet(message_id, 1, data)
        return
    view = memoryview(data)
    for index in range(count):
        yield data_packet(message_id, index + 1, view[index * data_size : (index + 1) * data_size])


class Reassembler:
    """Puts the packets of one connection together again.

    A packet that does not fit abandons the message that it was to continue: nothing half-read survives into
    the next one. A header packet always starts afresh; after any other misfit, packets are dropped until the
    next header (protocol 1.6). `dropped` counts packets and abandoned messages so that a shell can log them.

    Args:
        max_message_size: Bytes of data of one message; a longer one is dropped whole, and its sender's next
            message is read as if nothing had happened.
    """

    __slots__ = ("_expected", "_id", "_max", "_parts", "_total", "_type", "dropped", "oversized", "size")

    def __init__(self, max_message_size: int = DEFAULT_MAX_MESSAGE_SIZE) -> None:
        self._max = max_message_size
        self._expected = 0
        self._id = 0
        self._total = 0
        self.size = 0
        """Bytes of data that are held of a message which has not come whole."""
        self._type = ""
        self._parts: list[bytes] | None = None
        self.dropped = 0
        self.oversized: Message | None = None
        """Id and type, with no data, of the last message that was given up for its size; the reader clears it."""

    def receive(self, packet: bytes) -> Message | None:
        """The message that `packet` completes, if it completes one. Never raises."""
        if len(packet) < 12:
            return self._violation()
        message_id, index = _DATA.unpack_from(packet)
        if index == 0:
            return self._start(message_id, packet)
        parts = self._parts
        if parts is None or index != self._expected or message_id != self._id:
            return self._violation()
        total = self._total
        if total == 1:  # almost every message
            message = Message(message_id, self._type, packet[12:])
            self._reset()
            return message if len(packet) - 12 <= self._max else self._too_large(message)
        self.size += len(packet) - 12
        if self.size > self._max:
            return self._too_large(Message(message_id, self._type, b""))
        parts.append(packet)
        if index < total:
            self._expected = index + 1
            return None
        message = Message(message_id, self._type, b"".join([memoryview(part)[12:] for part in parts]))
        self._reset()
        return message

    def give_up(self) -> int:
        """Drop what is held of a message, and what will come of it; returns its id."""
        self._violation()
        return self._id

    def _start(self, message_id: int, packet: bytes) -> Message | None:
        if self._parts is not None:
            self.dropped += 1
        self._reset()
        if not 16 <= len(packet) <= 16 + _MAX_TYPE_BYTES:
            return self._violation()
        try:
            message_type = packet[16:].decode()
        except UnicodeDecodeError:
            return self._violation()
        total = int.from_bytes(packet[12:16], "big")
        if total == 0:
            return Message(message_id, message_type, b"")
        self._id, self._type, self._total, self._expected = message_id, message_type, total, 1
        self._parts = []
        return None

    def _too_large(self, message: Message) -> Message | None:
        self.oversized = Message(message.id, message.type, b"")
        return self._violation()

    def _violation(self) -> Message | None:
        self.dropped += 1
        self._reset()
        return None

    def _reset(self) -> None:
        self._parts = None
        self._expected = 0
        self.size = 0
