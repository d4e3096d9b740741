"""What a process uses, seen from outside, so that it is also seen when the process takes no messages."""

from __future__ import annotations

import os
import resource
import sys

__all__ = ["limit_data_memory", "process_usage"]

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_HEADROOM = 1024 * 1024 * 1024


def process_usage(pid: int) -> tuple[float, int] | None:
    """Seconds of processor time so far, and bytes of memory in use; None where the system does not tell."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / _TICKS, int(fields[21]) * _PAGE


def limit_data_memory(more_bytes: int) -> None:
    """Let this process take `more_bytes` and some headroom beyond what it has; where the system can bound that.

    The bound is above the one that the server watches: an engine that cannot make a thread any more may wait for it
    without end (LanceDB 0.40 does), and should have been killed before.
    """
    if sys.platform != "linux":
        return
    with open("/proc/self/status", "rb") as file:
        has = next(int(line.split()[1]) * 1024 for line in file if line.startswith(b"VmData:"))
    bound = has + more_bytes + _HEADROOM
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    if hard == resource.RLIM_INFINITY or bound <= hard:
        resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))
