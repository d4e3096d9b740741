"""Errors that only a store raises; everything else comes from `meshagent.api.errors`."""

from __future__ import annotations

from meshagent.api.errors import InternalError, UnavailableError

__all__ = ["CorruptDataError", "StoreFailedError"]


class StoreFailedError(UnavailableError):
    """The disk refused: the write is not known to be durable.

    It may or may not be there after a crash. Keep what it carried in memory, and write it again when the store
    has recovered.
    """

    code = "store_failed"


class CorruptDataError(InternalError):
    """What the store holds cannot be trusted, so nothing of it is returned (a partial document never is)."""

    code = "corrupt_data"
