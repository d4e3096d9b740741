"""The frame codec: any split of a valid stream gives its messages, and every fault is refused."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshagent.server.websocket.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    FrameReader,
    ProtocolViolation,
    close_frame,
    server_frame,
)
from tests.support.hypothesis_profiles import examples
from tests.support.websocket_peer import client_frame

Event = tuple[str, object]


class Events:
    """A sink that keeps everything in order."""

    def __init__(self, max_message_bytes: int = 1 << 20) -> None:
        self.events: list[Event] = []
        self.reader = FrameReader(self, self.on_binary, max_message_bytes)

    def on_binary(self, message: bytes) -> None:
        self.events.append(("binary", message))

    def on_text(self, text: str) -> None:
        self.events.append(("text", text))

    def on_ping(self, payload: bytes) -> None:
        self.events.append(("ping", payload))

    def on_close(self, code: int, reason: str) -> None:
        self.events.append(("close", (code, reason)))


def violation(stream: bytes, **limits: int) -> int:
    with pytest.raises(ProtocolViolation) as caught:
        Events(**limits).reader.feed(stream)
    return caught.value.code


@dataclass
class Sent:
    """A message and how it is cut into frames, with pings and pongs in between."""

    body: bytes | str
    cuts: list[int]
    pings: bool

    def stream(self) -> bytes:
        data = self.body.encode() if isinstance(self.body, str) else self.body
        edges = [0, *sorted(cut % (len(data) + 1) for cut in self.cuts), len(data)]
        pieces = [data[start:end] for start, end in pairwise(edges)]
        frames = []
        for number, piece in enumerate(pieces):
            opcode = CONTINUATION if number else (TEXT if isinstance(self.body, str) else BINARY)
            if self.pings:
                frames += [client_frame(PING, b"%d" % number), client_frame(PONG)]
            frames.append(
                client_frame(opcode, piece, fin=number == len(pieces) - 1, mask=bytes([7, number % 256, 0, 255]))
            )
        return b"".join(frames)

    def events(self) -> list[Event]:
        pings: list[Event] = [("ping", b"%d" % number) for number in range(len(self.cuts) + 1)]
        body: Event = ("text" if isinstance(self.body, str) else "binary", self.body)
        return [*(pings if self.pings else []), body]


sizes = st.sampled_from([0, 1, 5, 124, 125, 126, 127, 1036, 65535, 65536, 70000])
bodies = st.one_of(st.binary(max_size=40), st.text(max_size=20), sizes.map(bytes))
sent_messages = st.builds(Sent, bodies, st.lists(st.integers(0, 70000), max_size=3), st.booleans())


@settings(max_examples=examples(60))
@given(st.lists(sent_messages, max_size=4), st.lists(st.integers(0, 1 << 20), max_size=12))
def test_any_split_gives_the_same_messages(sent: list[Sent], cuts: list[int]) -> None:
    stream = b"".join(message.stream() for message in sent)
    received = Events()
    shared = bytearray(len(stream))  # as the shell does: every read lands in the same buffer
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, end in pairwise(edges):
        view = memoryview(shared)[: end - start]
        view[:] = stream[start:end]
        received.reader.feed(view)
        view[:] = bytes(len(view))
    assert received.events == [event for message in sent for event in message.events()]


def test_a_stream_may_come_byte_by_byte() -> None:
    messages = [b"x" * size for size in (0, 1, 125, 126, 300)]
    stream = b"".join(client_frame(BINARY, message) for message in messages) + client_frame(CLOSE)
    received = Events()
    for position in range(len(stream)):
        received.reader.feed(stream[position : position + 1])
    assert received.events == [*(("binary", message) for message in messages), ("close", (1005, ""))]


RESERVED_OPCODES = (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
BEGUN_TEXT = client_frame(TEXT, fin=False)


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        pytest.param(b"\x82\x01x", 1002, id="unmasked"),
        pytest.param(b"\x81\x01x", 1002, id="unmasked text"),
        *(pytest.param(bytes((0x82 | rsv << 4, 0x80)), 1002, id=f"rsv {rsv}") for rsv in range(1, 8)),
        *(pytest.param(bytes((0x80 | op, 0x80)), 1002, id=f"opcode {op}") for op in RESERVED_OPCODES),
        pytest.param(client_frame(PING, fin=False), 1002, id="fragmented ping"),
        pytest.param(client_frame(CLOSE, fin=False), 1002, id="fragmented close"),
        pytest.param(b"\x89\xfe", 1002, id="long ping"),
        pytest.param(client_frame(CONTINUATION, b"x"), 1002, id="continues nothing"),
        pytest.param(client_frame(BINARY, fin=False) + client_frame(BINARY), 1002, id="binary inside binary"),
        pytest.param(BEGUN_TEXT + client_frame(BINARY, bytes(200)), 1002, id="long binary inside text"),
        pytest.param(b"\x82\xfe\x00\x7d", 1002, id="125 in 16 bits"),
        pytest.param(b"\x82\xff" + (65535).to_bytes(8, "big"), 1002, id="65535 in 64 bits"),
        pytest.param(b"\x82\xff" + b"\xff" * 8, 1009, id="length above 2**63"),
        pytest.param(client_frame(TEXT, b"\xc0\xaf"), 1007, id="overlong UTF-8"),
        pytest.param(client_frame(TEXT, b"\xed\xa0\x80"), 1007, id="surrogate"),
        pytest.param(client_frame(TEXT, b"ok", fin=False) + client_frame(CONTINUATION, b"\xce"), 1007, id="cut UTF-8"),
        pytest.param(client_frame(CLOSE, b"\x03"), 1002, id="half a close code"),
        pytest.param(client_frame(CLOSE, b"\x03\xe8\xff"), 1007, id="close reason not UTF-8"),
        *(
            pytest.param(client_frame(CLOSE, bad.to_bytes(2, "big")), 1002, id=f"close code {bad}")
            for bad in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
        ),
    ],
)  # fmt: skip
def test_faults_are_refused(stream: bytes, code: int) -> None:
    assert violation(stream) == code


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1014, 3000, 4999])
def test_valid_close_codes_are_reported(code: int) -> None:
    received = Events()
    received.reader.feed(client_frame(CLOSE, code.to_bytes(2, "big") + "wärum".encode()))
    assert received.events == [("close", (code, "wärum"))]


@pytest.mark.parametrize("size", [125, 126, 65535, 65536])
def test_a_message_may_be_as_large_as_the_limit_and_no_larger(size: int) -> None:
    received = Events(max_message_bytes=size)
    received.reader.feed(client_frame(BINARY, bytes(size)))
    assert received.events == [("binary", bytes(size))]
    too_large = client_frame(BINARY, bytes(size + 1))
    assert violation(too_large, max_message_bytes=size) == 1009
    assert violation(too_large[:14], max_message_bytes=size) == 1009  # its header is enough


def test_fragments_add_up_to_the_limit() -> None:
    half = client_frame(BINARY, bytes(100), fin=False)
    rest = client_frame(CONTINUATION, bytes(101), fin=True)
    assert violation(half + rest[:8], max_message_bytes=200) == 1009


def test_a_stopped_reader_delivers_nothing_more_of_the_same_read() -> None:
    received = Events()
    reader = FrameReader(received, lambda message: reader.stop(), 1000)
    reader.feed(client_frame(BINARY, b"a") + client_frame(PING) + b"\x00garbage")
    reader.feed(b"garbage")
    assert received.events == []


def test_a_discarding_reader_still_sees_the_close_frame() -> None:
    received = Events()
    received.reader.feed(client_frame(BINARY, b"begun", fin=False))
    received.reader.discard_messages()
    received.reader.feed(client_frame(CONTINUATION, b"x") + client_frame(BINARY, b"y") + client_frame(CLOSE))
    assert received.events == [("close", (1005, ""))]


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_server_frames_are_unmasked_and_shortest(size: int) -> None:
    frame = server_frame(bytes(size))
    head = {0: b"\x82\x00", 125: b"\x82\x7d", 126: b"\x82\x7e\x00\x7e", 65535: b"\x82\x7e\xff\xff"}
    assert frame == head.get(size, b"\x82\x7f" + size.to_bytes(8, "big")) + bytes(size)


def test_close_frames_cut_their_reason_at_a_character() -> None:
    assert close_frame(1005) == b"\x88\x00"
    assert close_frame(1000, "ä" * 200) == b"\x88\x7c\x03\xe8" + ("ä" * 61).encode()
    with pytest.raises(ValueError, match="1006"):
        close_frame(1006)


def test_a_reader_stops_behind_a_message_when_its_time_is_over() -> None:
    received = Events()
    stream = b"".join(client_frame(BINARY, bytes([number])) for number in range(3))
    received.reader.deadline = 0.0
    taken = received.reader.feed(stream)
    assert taken == len(stream) // 3
    received.reader.deadline = inf
    assert received.reader.feed(stream[taken:]) == len(stream) - taken
    assert [payload for _, payload in received.events] == [b"\0", b"\1", b"\2"]
