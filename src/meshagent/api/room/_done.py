"""The result of methods that existing programs call with or without `await`."""

from __future__ import annotations

from collections.abc import Generator


class Done:
    """An awaitable that is complete at once."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield  # makes this a generator


DONE = Done()
