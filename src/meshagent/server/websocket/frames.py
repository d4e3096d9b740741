"""WebSocket frames (RFC 6455 section 5) without I/O: bytes in, messages out; messages in, bytes out.

The reader is strict and works in push style: one call per read of the transport, one call out per
message, nothing queued. No extension is ever negotiated, so every reserved bit is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import perf_counter
from typing import Final, Protocol

from websockets.typing import BytesLike
from websockets.utils import apply_mask as apply_mask_in_python

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without the compiled module: the same function in Python

    def apply_mask(data: BytesLike, mask: bytes | bytearray) -> bytes:
        """`data` XOR the four bytes of `mask`, repeated."""
        return apply_mask_in_python(data, bytes(mask))


CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

NORMAL: Final = 1000
PROTOCOL_ERROR: Final = 1002
UNSUPPORTED_DATA: Final = 1003
NO_STATUS: Final = 1005
ABNORMAL: Final = 1006
INVALID_TEXT: Final = 1007
MESSAGE_TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011
TRY_AGAIN_LATER: Final = 1013

MAX_CONTROL_BYTES: Final = 125
_MAX_REASON_BYTES: Final = MAX_CONTROL_BYTES - 2
_MASKED: Final = 0x80
_FINAL_BINARY: Final = 0x80 | BINARY
_OPCODES: Final = frozenset({CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG})
# Registered by RFC 6455 and IANA, then the two ranges that libraries and applications may use.
_CLOSE_CODES: Final = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})


class ProtocolViolation(Exception):
    """The peer broke the protocol or a limit; `code` is the close code to answer with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class FrameSink(Protocol):
    """Where a `FrameReader` delivers everything but binary messages, in arrival order."""

    def on_text(self, text: str) -> None: ...

    def on_ping(self, payload: bytes) -> None: ...

    def on_close(self, code: int, reason: str) -> None:
        """`code` is 1005 if the peer's close frame was empty."""
        ...


def _discard(message: bytes) -> None:
    """Take a binary message that nobody wants any more."""


class FrameReader:
    """Turns a client's byte stream, split anywhere, into messages.

    Args:
        sink: Receives text, pings and the close frame. Pongs are checked and dropped.
        on_binary: Called with each whole binary message, as `bytes`.
        max_message_bytes: Largest message, fragments added up. An announced length above it is
            refused before its bytes are read.
    """

    __slots__ = (
        "_fragments",
        "_fragments_are_text",
        "_max_bytes",
        "_needed",
        "_on_binary",
        "_partial",
        "_sink",
        "deadline",
    )

    def __init__(self, sink: FrameSink, on_binary: Callable[[bytes], None], max_message_bytes: int) -> None:
        self._sink: FrameSink | None = sink
        self.deadline = inf
        """When `feed` stops after the message that it delivers, on the clock of `perf_counter`."""
        self._on_binary = on_binary
        self._max_bytes = max_message_bytes
        self._partial: bytearray | None = None  # the beginning of a frame whose rest has not come
        self._needed = 0  # size that `_partial` must reach before it says anything new
        self._fragments: bytearray | None = None  # the message so far, while it comes in fragments
        self._fragments_are_text = False

    def discard_messages(self) -> None:
        """Deliver no more binary messages; pings and the close frame are still reported."""
        self._on_binary = _discard
        self._fragments = None if self._fragments is None else bytearray()

    def stop(self) -> None:
        """Ignore all further bytes and free what is held; the frame being delivered is the last."""
        self._sink = None
        self._on_binary = _discard
        self._partial = self._fragments = None

    def feed(self, data: bytes | memoryview) -> int:
        """Take the next bytes of the stream and deliver every message they complete.

        `data` may be reused as soon as this returns.

        Returns:
            How many of the bytes are taken: all, unless messages are left when `deadline` has passed. At least one
            message is taken.

        Raises:
            ProtocolViolation: The stream is broken from here on; call `stop`.
        """
        position = 0
        if self._partial is not None:
            position = self._complete_partial(data)
        size = len(data)
        while size - position >= 2:
            if self._sink is None:
                return size
            if position and perf_counter() > self.deadline:
                return position
            first = data[position]
            payload = length = 0
            if first == _FINAL_BINARY and self._fragments is None:
                # The frames of the hot path, whole messages below 64 KiB, skip the general header.
                second = data[position + 1]
                if _MASKED <= second < _MASKED + 126:
                    length = second - _MASKED
                    payload = position + 6
                elif second == _MASKED + 126 and size - position >= 4:
                    length = data[position + 2] << 8 | data[position + 3]
                    if 126 <= length <= self._max_bytes:
                        payload = position + 8
            if not payload:
                header = self._header(data, position)
                if header is None:
                    break
                payload, length = header
            end = payload + length
            if end > size:
                break
            mask = data[payload - 4 : payload]
            message = apply_mask(data[payload:end], mask)  # type: ignore[arg-type]  # it takes any buffer
            position = end
            if first == _FINAL_BINARY:
                self._on_binary(message)
            else:
                self._deliver(first, message)
        if position < size and self._sink is not None:
            self._keep(data, position)
        return size

    def _complete_partial(self, data: bytes | memoryview) -> int:
        """Add what the waiting frame lacks; deliver it if that completes it. Returns the bytes used."""
        partial = self._partial
        assert partial is not None
        position = 0
        while True:
            missing = data[position : position + self._needed - len(partial)]
            partial += missing
            position += len(missing)
            if len(partial) < self._needed:
                return position
            needed = self._frame_size(partial)
            if needed == self._needed:
                break
            self._needed = needed
        self._partial = None
        # A whole frame: the loop delivers it and keeps nothing, so this is one level deep.
        self.feed(memoryview(partial))
        return position

    def _keep(self, data: bytes | memoryview, position: int) -> None:
        rest = bytearray(data[position:])
        self._needed = self._frame_size(rest)
        self._partial = rest

    def _frame_size(self, begun: bytearray) -> int:
        """Bytes until the frame that begins here says more: the header's end, or the frame's."""
        if len(begun) < 2:
            return 2
        header = self._header(begun, 0)
        if header is not None:
            payload, length = header
            return payload + length
        return 4 if begun[1] & 0x7F == 126 else 10

    def _header(self, data: bytes | bytearray | memoryview, position: int) -> tuple[int, int] | None:
        """Where the payload starts and how long it is; None if the length has not come whole.

        The mask is the four bytes before the payload. Everything wrong is refused here, as early
        as the bytes that show it.
        """
        first, second = data[position], data[position + 1]
        opcode = first & 0x0F
        if first & 0x70:
            raise ProtocolViolation(PROTOCOL_ERROR, "reserved bits set without an extension")
        if opcode not in _OPCODES:
            raise ProtocolViolation(PROTOCOL_ERROR, f"reserved opcode {opcode}")
        if not second & _MASKED:
            raise ProtocolViolation(PROTOCOL_ERROR, "client frame is not masked")
        length = second & 0x7F
        payload = position + 6
        if opcode >= CLOSE:
            self._check_control(first, length)
        else:
            self._check_order(opcode)
        if length == 126:
            if len(data) - position < 4:
                return None
            length = data[position + 2] << 8 | data[position + 3]
            payload += 2
            if length < 126:
                raise ProtocolViolation(PROTOCOL_ERROR, "length is not in its shortest form")
        elif length == 127:
            if len(data) - position < 10:
                return None
            length = int.from_bytes(data[position + 2 : position + 10], "big")
            payload += 8
            if length < 65536:
                raise ProtocolViolation(PROTOCOL_ERROR, "length is not in its shortest form")
        if opcode < CLOSE:
            self._check_size(length)
        return payload, length

    @staticmethod
    def _check_control(first: int, length: int) -> None:
        if not first & 0x80:
            raise ProtocolViolation(PROTOCOL_ERROR, "control frame is fragmented")
        if length > MAX_CONTROL_BYTES:
            raise ProtocolViolation(PROTOCOL_ERROR, "control frame is longer than 125 bytes")

    def _check_order(self, opcode: int) -> None:
        if opcode == CONTINUATION:
            if self._fragments is None:
                raise ProtocolViolation(PROTOCOL_ERROR, "continuation with nothing to continue")
        elif self._fragments is not None:
            raise ProtocolViolation(PROTOCOL_ERROR, "new message inside a fragmented one")

    def _check_size(self, length: int) -> None:
        held = 0 if self._fragments is None else len(self._fragments)
        if held + length > self._max_bytes:
            raise ProtocolViolation(MESSAGE_TOO_BIG, f"message is larger than {self._max_bytes} bytes")

    def _deliver(self, first: int, payload: bytes) -> None:
        """Deliver a frame that is not a whole binary message. Its header has been checked."""
        opcode = first & 0x0F
        final = first & 0x80
        if opcode >= CLOSE:
            self._deliver_control(opcode, payload)
        elif opcode == CONTINUATION:
            assert self._fragments is not None
            self._fragments += payload
            if final:
                message = bytes(self._fragments)
                self._fragments = None
                self._deliver_message(message, is_text=self._fragments_are_text)
        elif final:
            self._deliver_message(payload, is_text=opcode == TEXT)
        else:
            self._fragments = bytearray(payload)
            self._fragments_are_text = opcode == TEXT

    def _deliver_message(self, message: bytes, *, is_text: bool) -> None:
        if not is_text:
            self._on_binary(message)
            return
        try:
            text = message.decode()
        except UnicodeDecodeError:
            raise ProtocolViolation(INVALID_TEXT, "text is not UTF-8") from None
        assert self._sink is not None
        self._sink.on_text(text)

    def _deliver_control(self, opcode: int, payload: bytes) -> None:
        assert self._sink is not None
        if opcode == PING:
            self._sink.on_ping(payload)
        elif opcode == CLOSE:
            self._sink.on_close(*_parse_close(payload))


def _parse_close(payload: bytes) -> tuple[int, str]:
    if not payload:
        return NO_STATUS, ""
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or not is_sendable_close_code(code):
        raise ProtocolViolation(PROTOCOL_ERROR, "close code is not valid")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise ProtocolViolation(INVALID_TEXT, "close reason is not UTF-8") from None


def is_sendable_close_code(code: int) -> bool:
    """Whether `code` may stand in a close frame (RFC 6455 section 7.4; 1005, 1006 and 1015 may not)."""
    return code in _CLOSE_CODES or 3000 <= code <= 4999


def server_frame(payload: bytes, opcode: int = BINARY) -> bytes:
    """One whole unmasked frame around `payload`; the same bytes serve every recipient."""
    length = len(payload)
    first = 0x80 | opcode
    if length < 126:
        return bytes((first, length)) + payload
    if length < 65536:
        return bytes((first, 126, length >> 8, length & 0xFF)) + payload
    return bytes((first, 127)) + length.to_bytes(8, "big") + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame; 1005 makes an empty one, and `reason` is cut to 123 bytes at a character."""
    if code == NO_STATUS:
        return server_frame(b"", CLOSE)
    if not is_sendable_close_code(code):
        raise ValueError(f"close code {code} must not be sent")
    text = reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore")
    return server_frame(code.to_bytes(2, "big") + text.encode(), CLOSE)
