"""Fair reading: how much of a connection is read at a time."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from meshagent.server.websocket.read_slices import SLICE_SECONDS, ReadSlices

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


@pytest.fixture
def transport() -> Transport:
    return Transport()


@pytest.fixture
async def slices(transport: Transport) -> ReadSlices:
    return ReadSlices(asyncio.get_running_loop(), cast(Any, transport), memoryview(bytearray(BUFFER)))


async def test_a_connection_with_more_to_read_gives_way_to_others(slices: ReadSlices, transport: Transport) -> None:
    slices.took(len(slices.view), SLICE_SECONDS)
    assert not transport.is_reading
    await asyncio.sleep(0)
    assert transport.is_reading


async def test_slow_messages_make_slices_small_and_fast_ones_large(slices: ReadSlices) -> None:
    for _ in range(20):
        slices.took(len(slices.view), 2 * SLICE_SECONDS)
    assert len(slices.view) == 4 * 1024
    for _ in range(20):
        slices.took(len(slices.view), 0.0)
    assert len(slices.view) == BUFFER


async def test_a_connection_that_was_read_empty_goes_on(slices: ReadSlices, transport: Transport) -> None:
    for _ in range(20):
        slices.took(100, SLICE_SECONDS)
    assert transport.is_reading


async def test_a_pause_outlasts_the_turn_of_others(slices: ReadSlices, transport: Transport) -> None:
    slices.took(len(slices.view), SLICE_SECONDS)
    slices.pause()
    await asyncio.sleep(0)
    assert not transport.is_reading
    slices.resume()
    assert transport.is_reading
