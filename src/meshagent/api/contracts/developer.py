"""`developer.*`: the room's log, which participants write and watch (protocol 13.2)."""

from __future__ import annotations

from typing import Any

import msgspec

from meshagent.api.contracts.operation import Empty, Event, Operation


class LogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry, as written and as watchers receive it."""

    type: str = "unknown"
    data: dict[str, Any] = msgspec.field(default_factory=dict)


LOG = Operation("developer.log", LogEntry, Empty)
WATCH = Operation("developer.watch", Empty, Empty)
UNWATCH = Operation("developer.unwatch", Empty, Empty)

LOGGED = Event("developer.log", LogEntry)
"""A new entry, for watchers."""
