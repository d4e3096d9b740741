"""Reading state vectors and integers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshagent.api.documents.update_format import read_varint, read_vector


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


@given(st.dictionaries(numbers, numbers, max_size=6))
def test_vectors(clocks: dict[int, int]) -> None:
    vector = varint(len(clocks)) + b"".join(varint(key) + varint(value) for key, value in clocks.items())
    assert read_vector(vector) == clocks
