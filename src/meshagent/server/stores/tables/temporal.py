"""Parsing of dates and times (protocol 11.3).

Programs write ISO 8601 with `T` or a space, with or without an offset; `str()` of Python's own values is among
these forms (protocol 2.3). What is read back is ISO 8601 with `T`.
"""

from __future__ import annotations

from datetime import UTC, date, datetime

__all__ = ["parse_date", "parse_timestamp"]


def parse_date(text: str) -> date:
    """The date in `text`; a time is ignored.

    Raises:
        ValueError: It is neither.
    """
    return datetime.fromisoformat(text.strip()).date()


def parse_timestamp(text: str) -> datetime:
    """The naive time in `text`, converted to UTC if it has an offset; a date means midnight.

    Raises:
        ValueError: It is neither, or its year in UTC is outside 1 to 9999.
    """
    moment = datetime.fromisoformat(text.strip())
    if moment.tzinfo is None:
        return moment
    try:
        return moment.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        raise ValueError(f"{text!r} is outside the years 1 to 9999 in UTC") from None
