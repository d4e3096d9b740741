"""Checks after a write that the table has the rows that it should have: only then is the write acknowledged."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lancedb import AsyncTable

from meshagent.api.errors import InternalError

__all__ = ["adding_rows", "check_rows"]

log = logging.getLogger(__name__)


async def check_rows(table: AsyncTable, expected: int) -> None:
    """Raise InternalError unless the table has `expected` rows. Reads the table's description, no rows."""
    found = await table.count_rows()
    if found != expected:
        log.error("the table engine stored %d rows of table %r instead of %d", found, table.name, expected)
        raise InternalError(f"the table engine stored {found} rows instead of {expected}: the write was undone")


@asynccontextmanager
async def adding_rows(table: AsyncTable, rows: int) -> AsyncIterator[None]:
    """Check that the block adds that many rows; otherwise the table goes back to what it was.

    Raises:
        InternalError: It did not.
    """
    before, version = await table.count_rows(), await table.version()
    yield
    try:
        await check_rows(table, before + rows)
    except InternalError:
        await table.checkout(version)
        await table.restore()
        raise
