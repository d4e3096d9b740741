"""DuckDB for the queries of one room: no files, network or extensions, bounded memory, its own threads."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from meshagent.api.errors import (
    InternalError,
    InvalidRequestError,
    LimitExceededError,
    RequestTimeoutError,
)
from meshagent.server.stores.tables.errors import readable
from meshagent.server.stores.tables.work_clock import current_clock

__all__ = ["Cursor", "SqlEngine"]

T = TypeVar("T")

Cursor = Any
"""A connection to the room's DuckDB with its own set of tables."""

_THREADS = 4
"""Steps of queries of one room that run in parallel; others wait."""

_SETTINGS = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "temp_directory": "",
    "max_temp_directory_size": "0B",
    "threads": "2",
}

_POSITION = re.compile(r"\n\s*LINE \d+:.*", re.DOTALL)
_LABEL = re.compile(r"^(?:Invalid Input|Parser|Binder|Catalog|Conversion|Permission|Not implemented) Error: ")


class SqlEngine:
    """The DuckDB of one room. It stores no data: queries read tables that are registered with a cursor.

    Args:
        memory_bytes: For all queries together.
        timeout: Seconds that a step of a query may take.
    """

    def __init__(self, *, memory_bytes: int, timeout: float) -> None:
        self._timeout = timeout
        settings: dict[str, str | bool | int | float | list[str]] = {
            **_SETTINGS,
            "memory_limit": f"{memory_bytes // 1024}KiB",
        }
        self._database = duckdb.connect(":memory:", config=settings)
        self._database.execute("SET GLOBAL TimeZone = 'UTC'; SET lock_configuration = true")
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="room-sql")
        self._memory_bytes = memory_bytes

    def cursor(self) -> Cursor:
        """A connection for one query; close it with `release`."""
        return self._database.cursor()

    async def run(self, cursor: Cursor, step: Callable[[], T]) -> T:
        """Run a step of a query in a thread; it is interrupted after the timeout, or when the caller is cancelled.

        Raises:
            InvalidRequestError: The query is invalid; with the engine's message.
            RequestTimeoutError: It took too long.
            LimitExceededError: It exceeds the memory limit.
        """
        loop = asyncio.get_running_loop()
        clock = current_clock()
        clock.waits()
        timed_out = False

        def interrupt() -> None:
            nonlocal timed_out
            timed_out = True
            cursor.interrupt()

        timer: asyncio.TimerHandle | None = None

        def begin() -> T:
            loop.call_soon_threadsafe(start_timer)
            return step()

        def start_timer() -> None:  # starts with the step: time spent waiting for a thread does not count
            nonlocal timer
            clock.begins()
            if not future.done():
                timer = loop.call_later(self._timeout, interrupt)

        future = loop.run_in_executor(self._threads, begin)
        try:
            with self._errors():
                return await asyncio.shield(future)
        except asyncio.CancelledError:
            cursor.interrupt()
            await asyncio.gather(future, return_exceptions=True)  # its outcome is not needed
            raise
        except InvalidRequestError:
            if timed_out:
                raise RequestTimeoutError(f"the query took longer than {self._timeout:g} seconds") from None
            raise
        finally:
            if timer is not None:
                timer.cancel()

    async def release(self, *closeables: Any) -> None:
        """Close readers and cursors."""

        def close() -> None:
            for closeable in closeables:
                closeable.close()

        await asyncio.get_running_loop().run_in_executor(self._threads, close)

    async def close(self) -> None:
        """Close the database; all cursors must have been released."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._database.close)
        self._threads.shutdown(wait=False)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.OutOfMemoryException, MemoryError):
            raise LimitExceededError("the query exceeds its memory limit", limit=self._memory_bytes) from None
        except (duckdb.InternalException, duckdb.FatalException) as error:
            raise InternalError(f"the query engine failed: {_engine_message(error)}") from error
        except (duckdb.Error, pa.ArrowException, OSError, ValueError, TypeError) as error:
            text = str(error)
            if "Out of Memory" in text:
                raise LimitExceededError("the query exceeds its memory limit", limit=self._memory_bytes) from None
            raise InvalidRequestError(_engine_message(error)) from None


def _engine_message(error: Exception) -> str:
    """The engine's message without the query excerpt and paths of this machine."""
    return readable(_LABEL.sub("", _POSITION.sub("", str(error)))).partition("\n")[0] or "the query failed"
