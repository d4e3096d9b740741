"""Bounds of the engine processes."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EngineSettings"]

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How many engine processes there are, and what one call may take before its process is killed.

    Attributes:
        processes: At most so many; each room's calls go to one of them.
        memory_bytes: Memory that a process may have in use.
        read_seconds: How long one search, or one step of a query, may run. The engines' own limits, which kill
            nothing, should be reached before.
        write_seconds: How long one write may run, not counting the time that it waits for others.
        cpu_seconds: Processor time that one call may take, ten times as much for a write. What a process uses is
            shared out among the calls that run in it at the time.
        stall_seconds: How long a process may take no messages.
        idle_seconds: After this time without a call, and with nothing open, a process is stopped.
        start_seconds: How long the start of a process may take.
        tick: Seconds between two looks at a process that works.
    """

    processes: int = 2
    memory_bytes: int = 2048 * MIB
    read_seconds: float = 40.0
    write_seconds: float = 600.0
    cpu_seconds: float = 120.0
    stall_seconds: float = 20.0
    idle_seconds: float = 300.0
    start_seconds: float = 60.0
    tick: float = 0.1
