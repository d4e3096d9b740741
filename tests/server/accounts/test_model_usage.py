"""The use of models on each kind of database: sums by day, reports, and what budgets read."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from meshagent.api.errors import UnavailableError
from meshagent.server.accounts.model_usage import BILLIONTH, ModelUsage, ModelUse, Spent
from meshagent.server.accounts.records import Project
from meshagent.server.accounts.store import AccountsStore


class Calendar:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.moment = datetime(2025, 3, 31, 23, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment


def use(**values: Any) -> ModelUse:
    given = {"project_id": "p", "room_name": "r", "key_id": "k", "participant": "bot", "model": "big"}
    tokens = {"input_tokens": 10, "output_tokens": 5, "cost": BILLIONTH}
    return ModelUse(**(given | tokens | values))


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture
async def usage(store: AccountsStore, calendar: Calendar) -> ModelUsage:
    await store.projects.add(Project(id="p", name="p", owner_user_id=None, settings={}))
    return ModelUsage(store.database, keep_days=30, follow=True, now=calendar)


async def report(usage: ModelUsage, *by: Any, day: date | None = None) -> list[dict[str, Any]]:
    end = day or usage.today()
    page = await usage.report("p", start=date(2025, 1, 1), end=end, by=by, limit=100, offset=0)
    return list(page.entries)


async def test_requests_of_one_day_are_summed_up(usage: ModelUsage, store: AccountsStore) -> None:
    for values in ({}, {}, {"cost": None, "is_estimate": True}, {"model": "small", "cached_input_tokens": 4}):
        usage.add(use(**values))
    await usage.flush()
    usage.add(use())
    big, small = await report(usage, "model")
    assert big == {
        "model": "big",
        "requests": 4,
        "estimated_requests": 1,
        "unpriced_requests": 1,
        "input_tokens": 40,
        "cached_input_tokens": 0,
        "output_tokens": 20,
        "cost": 3 * BILLIONTH,
    }
    assert (small["requests"], small["cached_input_tokens"]) == (1, 4)
    assert [row["requests"] for row in await report(usage)] == [5]
    assert await report(usage, day=date(2025, 1, 2)) == []


async def test_rows_come_in_pages_newest_day_first(usage: ModelUsage, calendar: Calendar) -> None:
    for _ in range(3):
        usage.add(use())
        calendar.moment += timedelta(days=1)
    first = await usage.report("p", start=date(2025, 3, 1), end=usage.today(), by=["day"], limit=2, offset=0)
    rest = await usage.report("p", start=date(2025, 3, 1), end=usage.today(), by=["day"], limit=2, offset=2)
    assert [row["day"] for row in (*first.entries, *rest.entries)] == ["2025-04-02", "2025-04-01", "2025-03-31"]
    assert (first.next_offset, rest.next_offset) == (2, None)


async def test_budgets_see_the_day_and_the_month(usage: ModelUsage, calendar: Calendar) -> None:
    project = ("project", "p")
    usage.add(use())
    assert usage.spent_today(project) == usage.spent_this_month(project) == Spent(15, BILLIONTH)
    assert usage.spent_today(("token", "p", "k", "bot")).tokens == usage.spent_today(("room", "p", "r")).tokens == 15
    assert usage.spent_today(("token", "p", "k", "other")).tokens == 0
    assert (usage.next_day(), usage.next_month()) == (3600, 3600)
    calendar.moment += timedelta(hours=2)
    assert usage.spent_today(project) == usage.spent_this_month(project) == Spent(0, 0)
    usage.add(use())
    calendar.moment += timedelta(days=1)
    usage.add(use())
    assert (usage.spent_today(project).tokens, usage.spent_this_month(project).tokens) == (15, 30)


async def test_the_sums_outlive_the_server_and_count_other_servers(
    usage: ModelUsage, store: AccountsStore, calendar: Calendar
) -> None:
    calendar.moment -= timedelta(days=5)
    usage.add(use())
    await usage.flush()
    calendar.moment += timedelta(days=5)
    usage.add(use())
    await usage.flush()
    next_one = ModelUsage(store.database, keep_days=30, follow=True, now=calendar)
    await next_one.start()
    try:
        assert next_one.spent_today(("room", "p", "r")) == Spent(15, BILLIONTH)
        assert next_one.spent_this_month(("room", "p", "r")) == Spent(30, 2 * BILLIONTH)
        await next_one.record(use())
        assert next_one.spent_today(("room", "p", "r")).tokens == 30
    finally:
        await next_one.close()


async def test_what_is_too_old_is_removed(usage: ModelUsage, calendar: Calendar) -> None:
    usage.add(use())
    await usage.flush()
    calendar.moment += timedelta(days=30)
    assert await usage.prune() == 0
    calendar.moment += timedelta(days=1)
    assert await usage.prune() == 1
    assert await report(usage) == []


async def test_a_project_that_is_gone_does_not_spoil_the_others(usage: ModelUsage) -> None:
    stored = [usage.add(use()), usage.add(use(project_id="gone")), usage.add(use())]
    await usage.flush()
    assert all(future.done() for future in stored)
    assert [row["requests"] for row in await report(usage)] == [2]


async def test_names_that_no_index_takes_are_shortened(usage: ModelUsage) -> None:
    long = "\udc80\0" + "ü" * 5000
    usage.add(use(room_name=long, key_id=long, participant=long, model=long))
    await usage.flush()
    [row] = await report(usage, "participant", "room", "model")
    assert row["participant"].startswith("??ü")
    assert usage.spent_today(("room", "p", row["room_name"])).tokens == 15


async def test_while_the_database_fails_requests_wait_and_at_last_are_refused(
    usage: ModelUsage, store: AccountsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise UnavailableError("no database")

    with monkeypatch.context() as patched:
        patched.setattr(store.database, "transaction", fail)
        waiting = usage.add(use())
        with pytest.raises(UnavailableError):
            await usage.flush()
        assert not waiting.done()
        patched.setattr("meshagent.server.accounts.model_usage._MAX_WAITING", 1)
        with pytest.raises(UnavailableError, match="cannot be recorded"):
            usage.check_writable()
    await usage.flush()
    assert waiting.done()
    assert [row["requests"] for row in await report(usage)] == [1]
