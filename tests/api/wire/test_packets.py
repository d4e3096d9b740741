"""Packets: cutting and reassembling, whole and under loss (protocol 1.4 to 1.7)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshagent.api.wire.packets import (
    MAX_PACKET_SIZE,
    Message,
    Reassembler,
    count_packets,
    data_packet,
    header_packet,
    iter_packets,
)

bodies = st.lists(st.tuples(st.text(max_size=9), st.binary(max_size=9)), max_size=5)


def packets_of(message: Message, size: int = 2) -> list[bytes]:
    return list(iter_packets(message.id, message.type, message.data, size))


def test_the_layout_is_the_documented_one() -> None:
    header, data = packets_of(Message(7, "storage.exists", b"x" * 64), size=64)
    assert header.hex() == "0000000000000007000000000000000173746f726167652e657869737473"
    assert data.hex() == "000000000000000700000001" + "78" * 64


def test_an_empty_message_is_a_lone_header() -> None:
    assert packets_of(Message(0, "hello", b"")) == [header_packet(0, b"hello", 0)]
    assert Reassembler().receive(header_packet(0, b"hello", 0)) == Message(0, "hello", b"")


def test_a_large_message_leaves_in_packets_that_every_client_takes() -> None:
    data = bytes(range(256)) * 4000
    packets = list(iter_packets(2, "hello", data))
    assert max(map(len, packets)) < MAX_PACKET_SIZE
    assert len(packets) == 1 + count_packets(len(data))
    reassembler = Reassembler()
    assert [reassembler.receive(packet) for packet in packets][-1] == Message(2, "hello", data)


@given(bodies, st.integers(1, 4))
def test_what_is_sent_arrives(bodies: list[tuple[str, bytes]], size: int) -> None:
    sent = [Message(number, kind, data) for number, (kind, data) in enumerate(bodies)]
    reassembler = Reassembler()
    received = [reassembler.receive(packet) for message in sent for packet in packets_of(message, size)]
    assert [message for message in received if message is not None] == sent
    assert reassembler.dropped == 0


@given(bodies, st.sets(st.integers(0, 20)))
def test_lost_packets_never_change_what_is_delivered(bodies: list[tuple[str, bytes]], lost: set[int]) -> None:
    sent = [Message(number, kind, data) for number, (kind, data) in enumerate(bodies)]
    packets = [packet for message in sent for packet in packets_of(message)]
    reassembler = Reassembler()
    received = [reassembler.receive(packet) for number, packet in enumerate(packets) if number not in lost]
    assert all(message in sent for message in received if message is not None)
    after = Message(99, "after", b"whole")
    assert [reassembler.receive(packet) for packet in packets_of(after)][-1] == after


@given(st.lists(st.binary(max_size=30), max_size=30))
def test_garbage_never_raises_and_never_sticks(packets: list[bytes]) -> None:
    reassembler = Reassembler(max_message_size=100)
    for packet in packets:
        reassembler.receive(packet)
    after = Message(99, "after", b"whole")
    assert [reassembler.receive(packet) for packet in packets_of(after)][-1] == after


def test_a_new_header_abandons_the_message_before_it() -> None:
    old, new = packets_of(Message(1, "old", b"OLDOLD")), packets_of(Message(2, "m", b"m"))
    reassembler = Reassembler()
    assert [reassembler.receive(packet) for packet in [*old[:2], *new]][-1] == Message(2, "m", b"m")
    assert reassembler.dropped == 1


def test_data_packets_may_have_any_size_even_none() -> None:
    reassembler = Reassembler()
    pieces = [b"", b"ab", b"", b"c"]
    received = [reassembler.receive(header_packet(5, b"t", len(pieces)))]
    received += [reassembler.receive(data_packet(5, number, piece)) for number, piece in enumerate(pieces, 1)]
    assert received[-1] == Message(5, "t", b"abc")


@pytest.mark.parametrize("pieces", [[b"x" * 11], [b"x" * 6, b"x" * 5]])
def test_an_oversized_message_is_reported_and_the_next_one_read(pieces: list[bytes]) -> None:
    reassembler = Reassembler(max_message_size=10)
    assert reassembler.receive(header_packet(5, b"big", len(pieces))) is None
    for number, piece in enumerate(pieces, 1):
        assert reassembler.receive(data_packet(5, number, piece)) is None
    assert reassembler.oversized == Message(5, "big", b"")
    after = Message(6, "after", b"ok")
    assert [reassembler.receive(packet) for packet in packets_of(after)][-1] == after


@pytest.mark.parametrize("packet", [b"", b"x" * 11, header_packet(1, b"\xff\xfe", 0), header_packet(1, b"t" * 600, 0)])
def test_broken_packets_are_dropped(packet: bytes) -> None:
    reassembler = Reassembler()
    assert reassembler.receive(packet) is None
    assert reassembler.dropped == 1
