"""What methods return that existing programs call with or without `await`."""

from __future__ import annotations

from collections.abc import Generator


class Done:
    """Nothing to wait for."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield  # makes this a generator


DONE = Done()
