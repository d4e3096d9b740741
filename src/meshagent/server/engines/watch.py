"""Looks at an engine process while it works, and says when it has to be killed, and because of which calls."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal, get_args

from meshagent.api.errors import LimitExceededError, RequestTimeoutError, RoomException
from meshagent.server.engines.connection import EngineConnection, PendingCall
from meshagent.server.engines.settings import EngineSettings
from meshagent.server.engines.usage import process_usage

__all__ = ["REASONS", "EngineWatch", "Reason", "Verdict"]

Reason = Literal["memory", "processor time", "time", "stall", "crash"]

REASONS: tuple[str, ...] = get_args(Reason)

WRITE_CPU_FACTOR = 10
"""Writes also train indexes and put files together, on all processors."""

_UNKNOWN = "; whether a change took effect is unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a process is killed.

    Attributes:
        reason: Which bound it passed.
        blamed: What the calls are told that made it so, by their numbers. Where it could have been any of several,
            none is blamed.
    """

    reason: Reason
    blamed: dict[int, RoomException] = field(default_factory=dict)


class EngineWatch:
    """Watches one process."""

    def __init__(self, pid: int, connection: EngineConnection, settings: EngineSettings) -> None:
        self._pid = pid
        self._connection = connection
        self._settings = settings
        self._cpu: float | None = None
        self.memory_bytes = 0

    def look(self) -> Verdict | None:
        """What there is to say against the process now; also asks it for a sign of life."""
        self._measure()
        verdict = self._time() or self._processor_time() or self._memory() or self._stall()
        self._connection.ping()
        return verdict

    def _measure(self) -> None:
        usage = process_usage(self._pid)
        if usage is None:
            return
        cpu, self.memory_bytes = usage
        running = self._running()
        if self._cpu is not None:
            for call in running.values():
                call.cpu += (cpu - self._cpu) / len(running)
        self._cpu = cpu

    def _running(self) -> dict[int, PendingCall]:
        return {number: call for number, call in self._connection.pending.items() if call.running is not None}

    def _time(self) -> Verdict | None:
        blamed: dict[int, RoomException] = {}
        for number, call in self._running().items():
            limit = self._settings.write_seconds if call.is_write else self._settings.read_seconds
            if call.running is not None and call.running > limit:
                text = f"this took longer than {limit:g} seconds, and its engine was stopped"
                blamed[number] = RequestTimeoutError(text + _UNKNOWN * call.is_write)
        return Verdict("time", blamed) if blamed else None

    def _processor_time(self) -> Verdict | None:
        blamed: dict[int, RoomException] = {}
        for number, call in self._running().items():
            limit = self._settings.cpu_seconds * (WRITE_CPU_FACTOR if call.is_write else 1)
            if call.cpu > limit:
                text = f"this took more than {limit:g} seconds of processor time, and its engine was stopped"
                blamed[number] = LimitExceededError(text + _UNKNOWN * call.is_write, limit=int(limit))
        return Verdict("processor time", blamed) if blamed else None

    def _memory(self) -> Verdict | None:
        limit = self._settings.memory_bytes
        if self.memory_bytes <= limit:
            return None
        suspects = self._running() or self._connection.pending
        if len(suspects) != 1:
            return Verdict("memory")
        ((number, call),) = suspects.items()
        text = f"this took more than {limit} bytes of memory, and its engine was stopped"
        return Verdict("memory", {number: LimitExceededError(text + _UNKNOWN * call.is_write, limit=limit)})

    def _stall(self) -> Verdict | None:
        sent, limit = self._connection.ping_sent, self._settings.stall_seconds
        if sent is None or time.monotonic() - sent < limit:
            return None
        suspects = self._running() or self._connection.pending
        if len(suspects) != 1:
            return Verdict("stall")
        ((number, call),) = suspects.items()
        text = f"the engine gave no sign of life for {limit:g} seconds, and was stopped"
        return Verdict("stall", {number: RequestTimeoutError(text + _UNKNOWN * call.is_write)})
