"""The lock on a data folder's tables, held by a server and by each of its engine processes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from meshagent.server.engines.errors import EngineEndedError
from meshagent.server.stores.disk import lock_file

__all__ = ["TablesLock"]

_NAME = ".engines.lock"
_TRIES = 200
_PAUSE = 0.05


class TablesLock:
    """Held while any process may write the tables.

    The processes get copies of one descriptor, so the lock lasts until the last of them is gone: a server that
    starts after the sudden end of another one waits for that one's engines.

    Args:
        root: The folder of the tables; made when needed.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / _NAME
        self._descriptor: int | None = None
        self._taking = asyncio.Lock()

    async def hold(self) -> int:
        """Take the lock, if this server does not have it already; its descriptor.

        Raises:
            EngineEndedError: Processes of another server have it, and do not end.
            OSError: The folder cannot be written.
        """
        async with self._taking:
            for _ in range(_TRIES):
                if self._descriptor is not None:
                    return self._descriptor
                try:
                    self._descriptor = await asyncio.to_thread(self._take)
                except BlockingIOError:
                    await asyncio.sleep(_PAUSE)
        raise EngineEndedError("table engines of another server still have the tables of this data folder")

    def release(self) -> None:
        """Let go of it; processes that live still have it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _take(self) -> int:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return lock_file(self._path)
