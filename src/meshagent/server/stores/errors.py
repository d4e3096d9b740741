"""Errors that only a store raises; everything else comes from `meshagent.api.errors`."""

from __future__ import annotations

from meshagent.api.errors import ConflictError, InternalError, UnavailableError

__all__ = ["CorruptDataError", "PreconditionFailedError", "StoreFailedError"]


class StoreFailedError(UnavailableError):
    """The disk failed: the write may not be durable.

    It may or may not be there after a crash. Keep its content in memory, and write it again when the store has
    recovered.
    """

    code = "store_failed"


class CorruptDataError(InternalError):
    """Stored data are damaged. Nothing is returned, never a part of a document."""

    code = "corrupt_data"


class PreconditionFailedError(ConflictError):
    """What is there is not what the change was meant for, so it was not made."""

    code = "precondition_failed"
    retryable = False
