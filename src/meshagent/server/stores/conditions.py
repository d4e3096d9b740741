"""Conditions under which a change is made: only if what is there is what the caller has seen.

They are the preconditions of HTTP (RFC 9110 13.1) as plain data, so that whoever makes the change can check them in
the same step, under the same lock.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from meshagent.server.stores.errors import PreconditionFailedError

__all__ = ["ANY_VERSION", "ChangeCondition"]

ANY_VERSION: Final = "*"
"""Stands for every version that there may be."""


class Entry(Protocol):
    """A file or folder, such as a `FileInfo`."""

    @property
    def is_folder(self) -> bool: ...

    @property
    def version(self) -> str: ...

    @property
    def updated_at(self) -> datetime: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeCondition:
    """What must hold for a change to be made; None leaves a condition out.

    Attributes:
        versions: One of these must be there.
        absent_versions: None of these may be there.
        unmodified_since: It must not have changed after this second. Ignored if `versions` is given, and where no time
            of a change is known, as RFC 9110 13.1.4 asks.
    """

    versions: frozenset[str] | None = None
    absent_versions: frozenset[str] | None = None
    unmodified_since: datetime | None = None

    def check_file(self, present: Entry | None) -> None:
        """Check against the file or folder that is there now; folders have neither version nor time.

        Raises:
            PreconditionFailedError: It does not hold.
        """
        if present is None:
            self.check(None)
        elif present.is_folder:
            self.check(())
        else:
            self.check((present.version,), present.updated_at)

    def check(self, present: Collection[str] | None, modified: datetime | None = None) -> None:
        """Check against the names that the present version goes by, or None if there is nothing.

        Raises:
            PreconditionFailedError: It does not hold.
        """
        if self.versions is not None:
            if not _names(self.versions, present):
                raise PreconditionFailedError("this is not the version that the request was made for (If-Match)")
        elif self.unmodified_since is not None and modified is not None and _second(modified) > self.unmodified_since:
            raise PreconditionFailedError("it has been changed since then (If-Unmodified-Since)")
        if self.absent_versions is not None and _names(self.absent_versions, present):
            raise PreconditionFailedError("it is there already (If-None-Match)")


def _second(time: datetime) -> datetime:
    """As `Last-Modified` tells it."""
    return time.astimezone(UTC).replace(microsecond=0)


def _names(versions: frozenset[str], present: Collection[str] | None) -> bool:
    """Whether one of the versions is that of what is there."""
    return present is not None and (ANY_VERSION in versions or not versions.isdisjoint(present))
