"""Running until a signal stops the process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGABRT)


async def wait_for_stop_signal() -> None:
    """Return on SIGINT, SIGTERM or SIGABRT; outside of the main thread, which gets no signals, wait for ever."""
    stopped = asyncio.Event()
    with _handled(asyncio.get_running_loop(), stopped):
        await stopped.wait()


@contextmanager
def _handled(loop: asyncio.AbstractEventLoop, stopped: asyncio.Event) -> Iterator[None]:
    before = {}
    try:
        for number in _STOPPING:
            previous = signal.getsignal(number)
            try:
                loop.add_signal_handler(number, stopped.set)
            except (NotImplementedError, RuntimeError, ValueError):
                continue  # not the main thread, or an event loop without signals
            before[number] = previous
        yield
    finally:
        for number, previous in before.items():
            loop.remove_signal_handler(number)
            if previous is not None:  # None: a handler that was not set by Python cannot be restored
                signal.signal(number, previous)
