"""A loop whose time moves when a test says so; just the scheduling calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast


class FakeHandle:
    """A scheduled call that can be cancelled."""

    def __init__(self, due_at: float, callback: Callable[..., object], args: tuple[object, ...]) -> None:
        self.due_at = due_at
        self.callback = callback
        self.args = args
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    """Schedules calls; `advance` runs them in order of their time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.handles: list[FakeHandle] = []

    def as_loop(self) -> asyncio.AbstractEventLoop:
        """This object, for code that wants a loop."""
        return cast(asyncio.AbstractEventLoop, self)

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[..., object], *args: object) -> FakeHandle:
        handle = FakeHandle(when, callback, args)
        self.handles.append(handle)
        return handle

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> FakeHandle:
        return self.call_at(self.now + delay, callback, *args)

    def call_soon(self, callback: Callable[..., object], *args: object) -> FakeHandle:
        return self.call_at(self.now, callback, *args)

    def advance(self, seconds: float = 0.0) -> None:
        """Run everything that is due within `seconds`, also what those calls schedule."""
        end = self.now + seconds
        while due := [each for each in self.handles if not each.cancelled and each.due_at <= end + 1e-9]:
            handle = min(due, key=lambda each: each.due_at)
            self.handles.remove(handle)
            self.now = max(self.now, handle.due_at)
            handle.callback(*handle.args)
        self.now = max(self.now, end)
