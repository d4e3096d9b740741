"""Messages as frames: the short way is the same bytes as the long one."""

from __future__ import annotations

import pytest

from meshagent.api.wire.packets import iter_packets
from meshagent.server.websocket.encoding import encode_message
from meshagent.server.websocket.shell import server_frame


@pytest.mark.parametrize("size", [0, 1, 113, 114, 65523, 65524, 65536, 65537, 200_000])
@pytest.mark.parametrize("type_length", [0, 1, 109, 110, 500])
def test_frames_hold_the_packets_of_the_message(size: int, type_length: int) -> None:
    data, message_type = bytes(range(256)) * (size // 256 + 1), "t" * type_length
    frames = encode_message(2**64 - 1, message_type, data[:size])
    assert frames == b"".join(map(server_frame, iter_packets(2**64 - 1, message_type, data[:size])))
