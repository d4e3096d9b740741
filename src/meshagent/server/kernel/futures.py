"""Futures that end as others do."""

from __future__ import annotations

import asyncio
from typing import TypeVar

__all__ = ["pass_on"]

T = TypeVar("T")


def pass_on(source: asyncio.Future[T], result: asyncio.Future[T]) -> None:
    """Let `result` end as `source` does, in value, failure or cancellation, unless it has ended before."""

    def copy(done: asyncio.Future[T]) -> None:
        if result.done():
            return
        if done.cancelled():
            result.cancel()
        elif (error := done.exception()) is not None:
            result.set_exception(error)
        else:
            result.set_result(done.result())

    source.add_done_callback(copy)
