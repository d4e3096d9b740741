"""Messages as frames: the short way is the same bytes as the long one; events and answers as messages."""

from __future__ import annotations

import pytest

from meshagent.api.contracts.content import Body, EmptyBody, FileBody, JsonBody, TextBody
from meshagent.api.contracts.operation import EMPTY
from meshagent.api.contracts.queues import QueueSize
from meshagent.api.wire import envelope
from meshagent.api.wire.content import unpack_body
from meshagent.api.wire.packets import iter_packets
from meshagent.server.kernel.operations import EncodedContent
from meshagent.server.websocket.encoding import encode_answer, encode_event, encode_message
from meshagent.server.websocket.shell import server_frame


@pytest.mark.parametrize("size", [0, 1, 113, 114, 65523, 65524, 65536, 65537, 200_000])
@pytest.mark.parametrize("type_length", [0, 1, 109, 110, 500])
def test_frames_hold_the_packets_of_the_message(size: int, type_length: int) -> None:
    data, message_type = bytes(range(256)) * (size // 256 + 1), "t" * type_length
    frames = encode_message(2**64 - 1, message_type, data[:size])
    assert frames == b"".join(map(server_frame, iter_packets(2**64 - 1, message_type, data[:size])))


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (None, EmptyBody()),
        (EMPTY, EmptyBody()),
        (QueueSize(name="jobs", size=2), JsonBody(json={"name": "jobs", "size": 2})),
        (TextBody(text="hello"), TextBody(text="hello")),
        (EncodedContent(b'{"type":"text","text":"hello"}'), TextBody(text="hello")),
        (
            EncodedContent(b'{"type":"file","name":"a","mime_type":"b/c"}', b"data"),
            FileBody(data=b"data", name="a", mime_type="b/c"),
        ),
    ],
)
def test_answers_carry_the_content_that_a_result_stands_for(result: object, expected: Body) -> None:
    frames = encode_answer(7, result)
    content = frames[frames.index(b"{") - 8 :]  # the envelope's length comes before its header
    assert unpack_body(content) == expected
    assert frames == encode_message(7, "__response__", content)


def test_json_text_goes_out_as_it_came() -> None:
    assert b'"json":{"b": 1,  "a": 1.50}}' in encode_answer(
        1, EncodedContent(b'{"type":"json","json":{"b": 1,  "a": 1.50}}')
    )


def test_an_event_is_its_name_its_data_and_its_payload() -> None:
    data = envelope.pack({"name": "jobs", "size": 2}, b"payload")
    assert encode_event(3, "some.event", QueueSize(name="jobs", size=2), b"payload") == encode_message(
        3, "some.event", data
    )
