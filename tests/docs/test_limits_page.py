"""The page on limits is what the code says."""

from __future__ import annotations

import pytest
from scripts import limits_page, limits_table


def test_the_page_is_up_to_date() -> None:
    assert limits_page.PAGE.read_text(encoding="utf-8") == limits_page.page(), "run python -m scripts.limits_page"


def test_a_limit_that_changes_changes_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshagent.server.rooms.attributes.MAX_ATTRIBUTES", 1234)
    assert "| attributes of a participant | 1,234, and 1 MiB as JSON |" in limits_page.page()


def test_a_setting_that_is_not_described_stops_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_page, "SETTINGS", limits_table.SETTINGS[1:])
    with pytest.raises(LookupError, match="max_packet_bytes"):
        limits_page.page()


@pytest.mark.parametrize(
    ("shown", "value", "text"),
    [
        (limits_table.size, 255, "255 bytes"),
        (limits_table.size, 4 * 1024 * 1024 + 4096, "4 MiB + 4 KiB"),
        (limits_table.size, 5 * 1024**3, "5 GiB"),
        (limits_table.duration, 0.004, "4 ms"),
        (limits_table.duration, 30, "30 s"),
        (limits_table.duration, 3600, "1 hour"),
        (limits_table.duration, 12 * 3600, "12 hours"),
        (limits_table.duration, 300, "5 minutes"),
        (limits_table.unless_zero, 0, "0, which is no limit"),
        (limits_table.count, 1_000_000, "1,000,000"),
    ],
)
def test_values_are_written_as_people_read_them(shown: limits_table.Format, value: float, text: str) -> None:
    assert shown(value) == text
