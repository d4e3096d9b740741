"""Messages as WebSocket frames. The same bytes go to everybody who receives a message."""

from __future__ import annotations

from struct import Struct
from typing import Final

from meshagent.api.contracts.content import Body
from meshagent.api.contracts.operation import Empty
from meshagent.api.errors import RoomException
from meshagent.api.wire import envelope, names
from meshagent.api.wire.packets import DATA_SIZE, count_packets, header_packet
from meshagent.server.kernel.operations import EncodedContent
from meshagent.server.websocket.shell import server_frame

_BINARY_FRAME: Final = 0x82
_HEADER_FRAME: Final = Struct(">BBQII")  # frame of up to 125 bytes, then the header packet (protocol 1.4)
_SHORT_DATA_FRAME: Final = Struct(">BBQI")
_DATA_FRAME: Final = Struct(">BBHQI")
_LONG_DATA_FRAME: Final = Struct(">BBQQI")


def header_frame(message_id: int, message_type: str, packet_count: int) -> bytes:
    """The frame that announces a message of `packet_count` data packets."""
    kind = message_type.encode()
    if len(kind) > 109:
        return server_frame(header_packet(message_id, kind, packet_count))
    return _HEADER_FRAME.pack(_BINARY_FRAME, 16 + len(kind), message_id, 0, packet_count) + kind


def data_frame(message_id: int, index: int, data: bytes | memoryview) -> bytes:
    """The frame of data packet number `index`, counted from 1; the data is copied once."""
    length = 12 + len(data)
    if length < 126:
        head = _SHORT_DATA_FRAME.pack(_BINARY_FRAME, length, message_id, index)
    elif length < 65536:
        head = _DATA_FRAME.pack(_BINARY_FRAME, 126, length, message_id, index)
    else:
        head = _LONG_DATA_FRAME.pack(_BINARY_FRAME, 127, length, message_id, index)
    return b"".join((head, data))


def encode_message(message_id: int, message_type: str, data: bytes) -> bytes:
    """All frames of one message, in order: the same bytes serve every recipient."""
    if 0 < len(data) <= DATA_SIZE:
        return header_frame(message_id, message_type, 1) + data_frame(message_id, 1, data)
    view = memoryview(data)
    count = count_packets(len(data))
    pieces = (view[index * DATA_SIZE : (index + 1) * DATA_SIZE] for index in range(count))
    packets = (data_frame(message_id, index, piece) for index, piece in enumerate(pieces, 1))
    return b"".join((header_frame(message_id, message_type, count), *packets))


def encode_event(message_id: int, message_type: str, header: object, payload: bytes = b"") -> bytes:
    """The frames of an event: a header that becomes JSON, and a payload."""
    return encode_message(message_id, message_type, envelope.pack(header, payload))


def _empty_answer_parts() -> tuple[bytes, bytes, bytes]:
    """The frames of the answer `empty` around its two message ids."""
    marker = 0x0102030405060708
    frames = encode_message(marker, names.RESPONSE, envelope.pack({"type": "empty"}))
    first, second, third = frames.split(marker.to_bytes(8, "big"))
    return first, second, third


_EMPTY_1, _EMPTY_2, _EMPTY_3 = _empty_answer_parts()


def encode_answer(message_id: int, result: object) -> bytes:
    """The frames of a `__response__`: `None` and `Empty` as `empty`, a content as it is, any other value as `json`."""
    if result is None or isinstance(result, Empty):
        id_bytes = message_id.to_bytes(8, "big")
        return b"".join((_EMPTY_1, id_bytes, _EMPTY_2, id_bytes, _EMPTY_3))
    if isinstance(result, EncodedContent):
        return encode_message(message_id, names.RESPONSE, envelope.join(result.header, result.payload))
    if isinstance(result, Body):
        return encode_message(message_id, names.RESPONSE, pack_content(result))
    data = envelope.pack({"type": "json", "json": result})
    return encode_message(message_id, names.RESPONSE, data)


def pack_content(content: Body) -> bytes:
    """A content as the data of a message; `usage` is left out where there is none, as current clients expect."""
    header = content.to_json()
    if header.get("usage") is None:
        header.pop("usage", None)
    return envelope.pack(header, content.get_data())


def encode_failure(message_id: int, error: RoomException) -> bytes:
    """The frames of a `__response__` that says why a request failed."""
    header = {"type": "error", "text": str(error), "code": error.wire_code}
    return encode_message(message_id, names.RESPONSE, envelope.pack(header))
