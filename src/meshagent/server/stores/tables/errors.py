"""Errors of the table engine as errors of the room API, without paths of its build and of this server."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from meshagent.api.errors import (
    AlreadyExistsError,
    InternalError,
    InvalidRequestError,
    InvalidStateError,
    NotFoundError,
    RoomException,
)
from meshagent.server.stores.errors import StoreFailedError

__all__ = ["engine_errors", "no_such_table", "table_exists"]

log = logging.getLogger(__name__)

_SOURCE = re.compile(r",? ?/\S*\.rs:\d+(:\d+)?")
_PATH = re.compile(r"(?<![\w.])/(?:[^\s/:'\"`,]+/)+[^\s:'\"`,]*")
_LABEL = re.compile(
    r"^(?:lance error: |Invalid input, |Invalid user input: |Unprocessable: |LanceError\([^)]*\): "
    r"|Schema Error: |Schema error: |Error during planning: |Compute error: )+"
)
_STATEMENT = re.compile(r"(Error parsing statement): SELECT .* \(sql parser error: (.*)\)", re.DOTALL)
_VALUE_ERRORS = ("cast error", "cannot cast", "parser error", "overflow", "out of range")
"""What the engine says of an expression that it cannot compute for the values of some row."""
_MAX_TEXT = 500


def no_such_table(name: str) -> NotFoundError:
    return NotFoundError(f"table {name!r} not found")


def table_exists(name: str) -> AlreadyExistsError:
    return AlreadyExistsError(f"table {name!r} already exists")


@contextmanager
def engine_errors(table: str) -> Iterator[None]:
    """Turns what the engine raises into errors of the room API.

    Raises:
        InvalidRequestError: The engine rejected the request.
        NotFoundError, AlreadyExistsError, InvalidStateError: As they say.
        StoreFailedError: The disk failed.
        InternalError: Anything else; details go to the log.
    """
    try:
        yield
    except (ValueError, RuntimeError, OSError, TypeError) as error:
        raise _translated(error, table) from error
    except BaseException as error:
        # A Rust panic is a BaseException of a class that cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        log.exception("the table engine panicked on table %r", table)
        raise InternalError(f"the table engine failed on table {table!r}; see the server log") from None


def readable(text: str) -> str:
    """An engine's error text without labels, source positions and paths of this machine."""
    text = _STATEMENT.sub(r"\1: \2", text)
    text = _PATH.sub("…", _SOURCE.sub("", text))
    return _LABEL.sub("", text).strip()[:_MAX_TEXT]


def _translated(error: Exception, table: str) -> RoomException:
    text = str(error)
    said = readable(text)
    lowered = text.lower()
    if "divide by zero" in lowered:
        return InvalidRequestError("division by zero")
    if isinstance(error, OSError) or "LanceError(IO)" in text or "os error" in lowered:
        log.error("cannot read or write table %r: %s", table, text)
        return StoreFailedError(f"cannot read or write table {table!r}: {said}")
    if "was not found" in lowered and text.startswith("Table"):
        return no_such_table(table)
    if "already exists" in lowered:
        return AlreadyExistsError(said)
    if "required for phrase queries" in lowered:
        return InvalidStateError("the full-text index was made without positions: make it anew to search for phrases")
    if "coercion failed" in lowered or "fail to find the coerced type" in lowered:
        return InvalidRequestError(f"the types of an expression do not fit: {said}")
    if any(part in lowered for part in _VALUE_ERRORS):
        return InvalidRequestError(f"an expression has no value for some row: {said}")
    if "unprocessable" in lowered or "not enough rows" in lowered:
        return InvalidStateError(said)
    if isinstance(error, (ValueError, TypeError)):
        return InvalidRequestError(said)
    log.error("the table engine failed on table %r", table, exc_info=error)
    return InternalError(f"the table engine failed on table {table!r}: {said}")
