"""Messages as WebSocket frames, built once for all who receive them (architecture section 5)."""

from __future__ import annotations

from struct import Struct
from typing import Final

from meshagent.api.contracts.operation import Empty
from meshagent.api.errors import RoomException
from meshagent.api.wire import envelope, names
from meshagent.api.wire.content import Body
from meshagent.api.wire.packets import iter_packets
from meshagent.server.dispatch.served import PackedContent
from meshagent.server.gateway.websocket import server_frame

_FINAL_BINARY: Final = 0x82
_HEADER_FRAME: Final = Struct(">BBQII")  # frame of up to 125 bytes, then the header packet (spec 1.4)
_SHORT_DATA_FRAME: Final = Struct(">BBQI")
_DATA_FRAME: Final = Struct(">BBHQI")


def encode_message(message_id: int, message_type: str, data: bytes) -> bytes:
    """All frames of one message, in order: the same bytes serve every recipient."""
    kind = message_type.encode()
    size = 12 + len(data)
    if 12 < size < 65536 and len(kind) < 110:
        # Almost every message: a header packet and one data packet, each in a frame, built in one go.
        header = _HEADER_FRAME.pack(_FINAL_BINARY, 16 + len(kind), message_id, 0, 1)
        if size < 126:
            start = _SHORT_DATA_FRAME.pack(_FINAL_BINARY, size, message_id, 1)
        else:
            start = _DATA_FRAME.pack(_FINAL_BINARY, 126, size, message_id, 1)
        return b"".join((header, kind, start, data))
    return b"".join(map(server_frame, iter_packets(message_id, message_type, data)))


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
    """The frames of a `__response__`: `None` and `Empty` as empty, a content as it is, a struct as JSON."""
    if result is None or isinstance(result, Empty):
        id_bytes = message_id.to_bytes(8, "big")
        return b"".join((_EMPTY_1, id_bytes, _EMPTY_2, id_bytes, _EMPTY_3))
    if isinstance(result, PackedContent):
        return encode_message(message_id, names.RESPONSE, result.data)
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
