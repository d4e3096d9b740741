"""The outbox of webhooks: bounds, order, and what a broken disk leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from meshagent.api.errors import NotFoundError
from meshagent.server.stores import sqlite_outbox
from meshagent.server.stores.commit_log import CommitLog
from meshagent.server.stores.outbox import LONGEST_WAIT, Attempt, Delivery, now
from meshagent.server.stores.sqlite_outbox import SqliteOutbox
from tests.support.stores import CommitGate, disk_full, open_commit_log

AT = now()


@pytest.fixture
def gate() -> CommitGate:
    return CommitGate()


@pytest.fixture
async def log(tmp_path: Path, gate: CommitGate) -> AsyncIterator[CommitLog]:
    async with open_commit_log(tmp_path, gate=gate) as log:
        yield log


def delivery(name: str, **values: Any) -> Delivery:
    """A delivery that waits."""
    defaults: dict[str, Any] = {
        "id": name,
        "project_id": "p",
        "webhook_id": "w",
        "room_name": "room",
        "event": "room.started",
        "data": "{}",
        "created_at": AT,
        "outcome": "waiting",
        "due_at": AT,
        "expires_at": AT + timedelta(hours=1),
        "updated_at": AT,
    }
    return Delivery(**(defaults | values))


def attempt(name: str, outcome: Any, *, due_at: datetime = AT, at: datetime = AT) -> Attempt:
    return Attempt(id=name, outcome=outcome, attempts=1, status=503, error="no", due_at=due_at, at=at)


async def ids(outbox: SqliteOutbox, **values: Any) -> list[str]:
    found = await outbox.page("p", "w", limit=100, offset=0, **values)
    return [entry.id for entry in found]


async def test_a_delivery_comes_back_as_it_was_put_in(log: CommitLog) -> None:
    outbox = SqliteOutbox(log)
    put = delivery("a", data='{"path": "\\u00fc"}', attempts=3, resends=1, status=500, error="no")
    await outbox.add([put])
    assert await outbox.get("p", "w", "a") == put
    assert await outbox.due("w", AT, 10) == [put]
    for project, webhook in (("q", "w"), ("p", "x")):
        with pytest.raises(NotFoundError):
            await outbox.get(project, webhook, "a")


async def test_what_is_retried_later_holds_up_its_room_only(log: CommitLog) -> None:
    outbox = SqliteOutbox(log)
    await outbox.add([delivery("a1"), delivery("b1", room_name="b"), delivery("a2")])
    later = AT + timedelta(seconds=5)
    await outbox.record(attempt("a1", "retrying", due_at=later))
    assert [entry.id for entry in await outbox.due("w", AT, 10)] == ["b1"]
    await outbox.record(attempt("b1", "delivered"))
    assert await outbox.next_due("w") == later, "a2 is due, but waits for a1"
    assert [entry.id for entry in await outbox.due("w", later, 10)] == ["a1", "a2"]


async def test_a_clock_that_was_set_back_holds_up_nothing(log: CommitLog) -> None:
    outbox = SqliteOutbox(log)
    await outbox.add([delivery("a"), delivery("b")])
    await outbox.record(attempt("a", "retrying", due_at=AT + LONGEST_WAIT))
    assert await outbox.due("w", AT, 10) == []
    yesterday = AT - timedelta(days=1)
    assert [entry.id for entry in await outbox.due("w", yesterday, 10)] == ["a", "b"]


async def test_bytes_that_wait_are_bounded(log: CommitLog) -> None:
    outbox = SqliteOutbox(log, max_pending_bytes=100)
    assert await outbox.add([delivery("a", data="x" * 60)]) == []
    dropped = await outbox.add([delivery("b", data="x" * 30), delivery("c", data="x" * 30)])
    assert [entry.id for entry in dropped] == ["a"]
    assert await outbox.add([delivery("d", data="x" * 5, webhook_id="another")]) == []
    assert (await outbox.get("p", "w", "a")).outcome == "dropped"


async def test_old_and_surplus_deliveries_go(log: CommitLog) -> None:
    outbox = SqliteOutbox(log, max_finished=2)
    old = AT - timedelta(days=20)
    await outbox.add([delivery(name) for name in ("old", "a", "b", "c", "pending")])
    await outbox.add([delivery("late", expires_at=AT - timedelta(seconds=1), error="refused")])
    await outbox.record(attempt("old", "delivered", at=old))
    for name in "abc":
        await outbox.record(attempt(name, "delivered"))
    expired = await outbox.prune(AT, AT - timedelta(days=14))
    assert [entry.id for entry in expired] == ["late"]
    late = await outbox.get("p", "w", "late")
    assert (late.outcome, late.error) == ("failed", "refused (given up: too old)")
    assert await ids(outbox) == ["late", "pending", "c", "b"]


async def test_what_is_sent_again_comes_after_what_waits(log: CommitLog) -> None:
    outbox = SqliteOutbox(log)
    await outbox.add([delivery("a"), delivery("b"), delivery("c")])
    await outbox.record(attempt("a", "failed"))
    later = AT + timedelta(seconds=5)
    await outbox.record(attempt("b", "retrying", due_at=later))
    await outbox.resend(["a", "b"], AT, later)
    assert [entry.id for entry in await outbox.due("w", AT, 10)] == ["b", "c", "a"]
    again, tried = await outbox.get("p", "w", "a"), await outbox.get("p", "w", "b")
    assert (again.outcome, again.resends, again.attempts) == ("waiting", 1, 0)
    assert (tried.outcome, tried.resends, tried.attempts) == ("retrying", 0, 1)


async def test_a_delivery_that_was_dropped_while_it_was_posted_counts_as_delivered(log: CommitLog) -> None:
    outbox = SqliteOutbox(log, max_pending=1)
    await outbox.add([delivery("a")])
    await outbox.add([delivery("b")])
    await outbox.record(attempt("a", "retrying"))
    assert (await outbox.get("p", "w", "a")).outcome == "dropped"
    await outbox.record(attempt("a", "delivered"))
    assert (await outbox.get("p", "w", "a")).outcome == "delivered"


async def test_a_delivery_that_was_given_up_while_it_was_posted_counts_as_delivered(log: CommitLog) -> None:
    outbox = SqliteOutbox(log)
    await outbox.add([delivery("old", webhook_id="x", expires_at=AT), delivery("a"), delivery("b")])
    await outbox.abandon("w", "the webhook was disabled", AT)
    await outbox.prune(AT + timedelta(seconds=1), AT - timedelta(days=1))
    for name in ("a", "old"):
        await outbox.record(attempt(name, "retrying"))
    assert [(await outbox.get("p", "x", "old")).outcome, *await ids(outbox)] == ["failed", "b", "a"]
    assert await ids(outbox, outcomes=("abandoned",)) == ["b", "a"]
    for name in ("a", "old"):
        await outbox.record(attempt(name, "delivered"))
    assert (await outbox.get("p", "x", "old")).outcome == "delivered"
    assert await ids(outbox, outcomes=("delivered",)) == ["a"]
    assert await ids(outbox, outcomes=("abandoned",)) == ["b"]


async def test_outcomes_are_written_again_until_the_disk_takes_them(
    log: CommitLog, gate: CommitGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_outbox, "_RETRY_SECONDS", 0.001)
    outbox = SqliteOutbox(log)
    await outbox.add([delivery("a")])
    gate.failures += [disk_full(), disk_full()]
    await outbox.record(attempt("a", "delivered"))
    assert (await outbox.get("p", "w", "a")).outcome == "delivered"


async def test_a_write_after_the_end_is_given_up(log: CommitLog) -> None:
    outbox = SqliteOutbox(log)
    await log.close()
    with pytest.raises(asyncio.CancelledError):
        await outbox.record(attempt("a", "delivered"))


async def test_all_that_belongs_to_a_webhook_can_be_given_up_or_removed(log: CommitLog) -> None:
    outbox = SqliteOutbox(log)
    await outbox.add([delivery("a"), delivery("b"), delivery("c", webhook_id="x")])
    await outbox.record(attempt("a", "delivered"))
    await outbox.abandon("w", "disabled", AT)
    assert await ids(outbox, outcomes=("abandoned",)) == ["b"]
    assert await outbox.pending_webhooks() == [("p", "x")]
    await outbox.forget("w")
    assert await ids(outbox) == []
    assert (await outbox.get("p", "x", "c")).outcome == "waiting"
