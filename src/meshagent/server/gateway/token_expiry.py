"""Requests end with the token that they came with, as connections do (`websocket.expiry`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from meshagent.api.tokens.verify import TokenProblem, TokenRefusedError
from meshagent.server.kernel.admission import Admission

__all__ = ["expiry_of", "pieces_while_token_lasts", "while_token_lasts"]

T = TypeVar("T")

_FOR_EVER: Final = 1e12
_LONGEST_SLEEP: Final = 30.0
"""Seconds after which the clock is looked at again, since it may be set while the timer waits."""


def expiry_of(admission: Admission) -> float | None:
    """When the token ends, in seconds since 1970; None if it does not, or in tens of thousands of years."""
    expires_at = admission.token.extra_payload.get("exp")
    return float(expires_at) if isinstance(expires_at, (int, float)) and expires_at < _FOR_EVER else None


@asynccontextmanager
async def while_token_lasts(admission: Admission, *, now: Callable[[], float] = time.time) -> AsyncIterator[None]:
    """Cut the block off when the token expires.

    Raises:
        TokenRefusedError: It did.
    """
    expires_at = expiry_of(admission)
    if expires_at is None:
        yield
        return
    loop = asyncio.get_running_loop()
    deadline = asyncio.timeout(None)
    timer: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal timer
        left = expires_at - now()
        if left <= 0:
            deadline.reschedule(loop.time())
        else:
            timer = loop.call_later(min(left, _LONGEST_SLEEP), look)

    if expires_at <= now():
        raise _expired()
    try:
        async with deadline:
            look()
            try:
                yield
            finally:
                if timer is not None:
                    timer.cancel()
    except TimeoutError:
        if deadline.expired():
            raise _expired() from None
        raise


async def pieces_while_token_lasts(admission: Admission, pieces: AsyncIterator[T]) -> AsyncIterator[T]:
    """The pieces of a body that comes in while the token lasts; what is done with them is not cut off.

    Raises:
        TokenRefusedError: The token expired before their end.
    """
    while True:
        async with while_token_lasts(admission):
            piece = await anext(pieces, None)
        if piece is None:
            return
        yield piece


def _expired() -> TokenRefusedError:
    return TokenRefusedError(TokenProblem.EXPIRED, "the token has expired")
