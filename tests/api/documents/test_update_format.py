"""Reading state vectors and the start of updates."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from meshagent.api.documents.update_format import Gap, find_early_start, read_varint, read_vector
from tests.support.crdt_peer import CrdtPeer
from tests.support.hypothesis_profiles import examples


def varint(value: int) -> bytes:
    result = bytearray()
    while value >= 0x80:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*result, value])


# Few different values, so that clocks look like authors and authors contain each other's bytes.
numbers = st.integers(0, 3) | st.sampled_from([128, 129, 256, 385, 16512, 2**31 - 1]) | st.integers(0, 2**53)


@given(numbers)
def test_varints(value: int) -> None:
    assert read_varint(b"x" + varint(value) + b"\x80", 1) == (value, 1 + len(varint(value)))


@settings(max_examples=examples(150), deadline=None)
@given(st.dictionaries(numbers, numbers, max_size=6), numbers, numbers)
def test_an_edit_is_early_when_it_starts_beyond_what_is_held(clocks: dict[int, int], client: int, start: int) -> None:
    vector = varint(len(clocks)) + b"".join(varint(key) + varint(value) for key, value in clocks.items())
    assert read_vector(vector) == clocks
    update = b"\x01\x01" + varint(client) + varint(start) + b"\x00"
    early = start > clocks.get(client, 0)
    assert find_early_start(vector, update) == (Gap(client, start) if early else None)


def test_what_is_no_edit_of_one_author_is_not_early() -> None:
    peer = CrdtPeer()
    peer.add("p")
    assert find_early_start(b"\x00", peer.take()) is None
    for update in (b"\x00\x00", b"\x02\x01\x05\x09", b"\x01", b"\x01\x01\x85"):
        assert find_early_start(b"\x00", update) is None
