"""The log of one run of a room: what the server and participants write, for the record and for whoever follows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from meshagent.api.contracts.developer import LogEntry

Follower = Callable[[LogEntry], None]
"""Takes each entry as it is written; must neither wait nor raise."""


class RoomLog:
    """Takes entries and shows them to followers.

    Args:
        keep: Told of the server's own entries, for the record of the run; not of participants' entries.
    """

    def __init__(self, keep: Callable[[str, Mapping[str, Any]], None] | None = None) -> None:
        self._keep = keep
        self._followers: list[Follower] = []

    def record(self, entry_type: str, data: Mapping[str, Any]) -> None:
        """Write an entry of the server's own: who came and went, which calls ran, what failed."""
        if self._keep is not None:
            self._keep(entry_type, data)
        if self._followers:
            self.show(LogEntry(type=entry_type, data=dict(data)))

    def show(self, entry: LogEntry) -> None:
        """Show an entry to all followers; it is not kept."""
        for follower in list(self._followers):
            follower(entry)

    def follow(self, follower: Follower) -> None:
        """Show every entry to `follower` until `unfollow`."""
        self._followers.append(follower)

    def unfollow(self, follower: Follower) -> None:
        """Stop showing entries to `follower`; harmless if it follows no more."""
        if follower in self._followers:
            self._followers.remove(follower)

    @contextmanager
    def following(self, follower: Follower) -> Iterator[None]:
        """Show every entry to `follower` for the length of the block."""
        self.follow(follower)
        try:
            yield
        finally:
            self.unfollow(follower)
