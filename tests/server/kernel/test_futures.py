"""A future that ends as another one does."""

from __future__ import annotations

import asyncio

import pytest

from meshagent.server.kernel.futures import pass_on


def pair() -> tuple[asyncio.Future[int], asyncio.Future[int]]:
    loop = asyncio.get_running_loop()
    source, result = loop.create_future(), loop.create_future()
    pass_on(source, result)
    return source, result


async def test_a_value_is_passed_on() -> None:
    source, result = pair()
    source.set_result(7)
    assert await result == 7


async def test_a_failure_is_passed_on() -> None:
    source, result = pair()
    source.set_exception(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await result


async def test_a_cancellation_is_passed_on() -> None:
    source, result = pair()
    source.cancel()
    with pytest.raises(asyncio.CancelledError):
        await result


async def test_a_result_that_has_ended_stays_as_it_is() -> None:
    source, result = pair()
    result.cancel()
    source.set_result(7)
    await asyncio.sleep(0)
    assert result.cancelled()
