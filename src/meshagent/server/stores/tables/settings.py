"""Limits and maintenance settings of the room database."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DROPPED_PREFIX", "TABLE_SUFFIX", "DatabaseLimits", "MaintenanceSettings"]

MIB = 1024 * 1024

TABLE_SUFFIX = ".lance"
"""Suffix of a table's folder."""

DROPPED_PREFIX = ".dropped-"
"""Prefix of folders that are being removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseLimits:
    """Bounds of the tables of a server.

    Attributes:
        max_tables: Tables of one room.
        max_result_bytes: Size of the rows of one search, as Arrow data.
        max_upload_bytes: Size of one upload, as Arrow data; stored in a temporary file.
        max_open_reads: Searches and queries of one participant that are being read at a time.
        sql_memory_bytes: Memory for all SQL queries of a room together.
        sql_timeout: Seconds that one step of a query may take: opening it, or fetching the next rows.
        sql_idle_timeout: Seconds after which an open query that nobody reads is closed.
        index_cache_bytes: Memory for parts of indexes, for all rooms of an engine process.
        metadata_cache_bytes: Memory for descriptions of files, for all rooms of an engine process.
    """

    max_tables: int = 1_000
    max_result_bytes: int = 64 * MIB
    max_upload_bytes: int = 1024 * MIB
    max_open_reads: int = 16
    sql_memory_bytes: int = 256 * MIB
    sql_timeout: float = 30.0
    sql_idle_timeout: float = 60.0
    index_cache_bytes: int = 256 * MIB
    metadata_cache_bytes: int = 128 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceSettings:
    """When small files of a table are merged and old versions removed.

    Attributes:
        after_writes: Writes after which maintenance runs: at once if the table is idle, otherwise limited by
            `max_time_share`.
        at_latest_after_writes: Writes after which it runs in any case.
        max_time_share: Largest share of a busy table's time.
        reader_timeout: Seconds to wait for readers of old versions; if they take longer, the versions are kept until
            the next run.
    """

    after_writes: int = 100
    at_latest_after_writes: int = 1_000
    max_time_share: float = 0.1
    reader_timeout: float = 5.0
