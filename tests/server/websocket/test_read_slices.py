"""Fair reading: how much of a connection is read and served at a time."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any, cast

import pytest

from meshagent.server.websocket.read_slices import MIN_SLICE_SECONDS, SLICE_SECONDS, ReadSlices, ReadTurns

BUFFER = 256 * 1024


class Transport:
    """Notes whether it is read."""

    is_reading = True

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        assert self.is_reading
        self.is_reading = False

    def resume_reading(self) -> None:
        assert not self.is_reading
        self.is_reading = True


class Reader:
    """Takes what it is fed: all of it after `seconds`, or no more than `most` bytes at a time."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.most = BUFFER
        self.taken: list[int] = []

    def feed(self, data: bytes | memoryview, deadline: float) -> int:
        assert deadline <= perf_counter() + SLICE_SECONDS
        end = perf_counter() + self.seconds
        while perf_counter() < end:
            pass
        self.taken.append(min(len(data), self.most))
        return self.taken[-1]


@pytest.fixture
def transport() -> Transport:
    return Transport()


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
async def slices(transport: Transport, reader: Reader) -> ReadSlices:
    loop = asyncio.get_running_loop()
    return ReadSlices(loop, cast(Any, transport), memoryview(bytearray(BUFFER)), reader.feed, ReadTurns())


async def test_a_connection_with_more_to_read_gives_way_to_others(
    slices: ReadSlices, transport: Transport, reader: Reader
) -> None:
    reader.seconds = SLICE_SECONDS
    slices.read(len(slices.view))
    assert not transport.is_reading
    await asyncio.sleep(0)
    assert transport.is_reading


async def test_slow_messages_make_slices_small_and_fast_ones_large(slices: ReadSlices, reader: Reader) -> None:
    reader.seconds = 1.5 * SLICE_SECONDS
    for _ in range(6):
        slices.read(len(slices.view))
    assert len(slices.view) == 4 * 1024
    reader.seconds = 0.0
    for _ in range(20):
        slices.read(len(slices.view))
    assert len(slices.view) == BUFFER


async def test_a_connection_that_was_read_empty_goes_on(
    slices: ReadSlices, transport: Transport, reader: Reader
) -> None:
    reader.seconds = SLICE_SECONDS
    for _ in range(3):
        slices.read(100)
    assert transport.is_reading


async def test_a_pause_outlasts_the_turn_of_others(slices: ReadSlices, transport: Transport, reader: Reader) -> None:
    reader.seconds = SLICE_SECONDS
    slices.read(len(slices.view))
    slices.pause()
    await asyncio.sleep(0)
    assert not transport.is_reading
    slices.resume()
    assert transport.is_reading


async def test_what_a_slice_leaves_is_served_in_later_turns_before_more_is_read(
    slices: ReadSlices, transport: Transport, reader: Reader
) -> None:
    reader.most = 1000
    slices.read(2500)
    assert reader.taken == [1000]
    for taken in ([1000, 1000], [1000, 1000, 500]):
        assert not transport.is_reading
        await asyncio.sleep(0)
        assert reader.taken == taken
    assert transport.is_reading


async def test_what_a_slice_leaves_waits_while_reading_is_paused(
    slices: ReadSlices, transport: Transport, reader: Reader
) -> None:
    reader.most = 1000
    slices.read(1500)
    slices.pause()
    for _ in range(3):
        await asyncio.sleep(0)
    assert reader.taken == [1000]
    slices.resume()
    assert not transport.is_reading
    await asyncio.sleep(0)
    assert reader.taken == [1000, 500]
    assert transport.is_reading


async def test_what_is_left_of_a_connection_that_is_over_is_forgotten(slices: ReadSlices, reader: Reader) -> None:
    reader.most = 1000
    slices.read(1500)
    slices.stop()
    await asyncio.sleep(0)
    assert reader.taken == [1000]


async def test_slices_become_shorter_the_more_connections_are_busy() -> None:
    loop, turns = asyncio.get_running_loop(), ReadTurns()
    granted: list[float] = []

    def feed(data: bytes | memoryview, deadline: float) -> int:
        granted.append(deadline - perf_counter())
        return 1

    many = [ReadSlices(loop, cast(Any, Transport()), memoryview(bytearray(BUFFER)), feed, turns) for _ in range(9)]
    assert turns.slice_seconds == SLICE_SECONDS
    for slices in many:
        slices.read(10)
    assert turns.busy == 9
    assert turns.slice_seconds == MIN_SLICE_SECONDS
    assert granted[1] < SLICE_SECONDS / 2
    for slices in many:
        slices.stop()
    await asyncio.sleep(0)
    assert turns.busy == 0
    assert turns.slice_seconds == SLICE_SECONDS
