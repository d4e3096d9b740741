"""The record of runs: complete, bounded, and never in the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from sqlalchemy import text

from meshagent.server.accounts.records import Project, Session, now
from meshagent.server.accounts.sessions import DROPPED, JOINED, SessionLimits, SessionRecorder
from meshagent.server.accounts.store import AccountsStore


@asynccontextmanager
async def recording(
    store: AccountsStore, limits: SessionLimits | None = None, *, server: str = "here"
) -> AsyncIterator[SessionRecorder]:
    if await store.projects.find(id="p") is None:
        await store.projects.add(Project(id="p", name="p"))
    recorder = SessionRecorder(store.database, server=server, limits=limits)
    await recorder.start()
    try:
        yield recorder
    finally:
        await recorder.close()


async def test_a_run_is_kept_from_its_start_to_its_end(store: AccountsStore) -> None:
    async with recording(store) as recorder:
        log = recorder.open("p", "lobby", "s")
        log.record(JOINED, {"name": "ada"})
        log.record(JOINED, {"name": "bob"})
        log.record("agent.ask", {"agent": "echo", "深": "\x00"})
        await recorder.flush()
        running = await store.sessions.get(id="s")
        assert (running.room_name, running.participants, running.ended_at) == ("lobby", 2, None)
        await log.close()
    ended = await store.sessions.get(id="s")
    assert ended.ended_at is not None
    assert ended.ended_at >= ended.created_at
    page = await recorder.events("s", limit=10, offset=0)
    assert [event.type for event in page.entries] == [JOINED, JOINED, "agent.ask"]
    assert page.entries[2].data == {"agent": "echo", "深": "\x00"}


async def test_events_come_in_pages(store: AccountsStore) -> None:
    async with recording(store) as recorder:
        log = recorder.open("p", "lobby", "s")
        for number in range(5):
            log.record("n", {"number": number})
        first = await recorder.events("s", limit=3, offset=0)
        assert first.next_offset == 3
        rest = await recorder.events("s", limit=3, offset=3)
        assert rest.next_offset is None
    assert [event.data["number"] for event in (*first.entries, *rest.entries)] == [0, 1, 2, 3, 4]


async def test_one_session_cannot_fill_the_database(store: AccountsStore) -> None:
    limits = SessionLimits(max_events=3, max_event_bytes=100)
    async with recording(store, limits) as recorder:
        log = recorder.open("p", "lobby", "s")
        log.record("large", {"text": "x" * 1000})
        for _ in range(10):
            log.record("small", {})
        page = await recorder.events("s", limit=100, offset=0)
    assert [event.type for event in page.entries] == ["large", "small", "small", DROPPED]
    assert page.entries[0].data == {"omitted_bytes": 1011}


async def test_events_of_one_type_do_not_crowd_out_others_but_all_joins_count(store: AccountsStore) -> None:
    async with recording(store, SessionLimits(max_events_per_type=2)) as recorder:
        log = recorder.open("p", "lobby", "s")
        for _ in range(5):
            log.record("tool.call", {})
            log.record(JOINED, {})
        log.record("room.error", {})
        page = await recorder.events("s", limit=100, offset=0)
        assert (await store.sessions.get(id="s")).participants == 5
    kinds = [event.type for event in page.entries]
    assert [kind for kind in kinds if kind != JOINED] == ["tool.call", "tool.call", DROPPED, "room.error"]
    [dropped] = [event for event in page.entries if event.type == DROPPED]
    assert dropped.data == {"type": "tool.call", "max_events": 2}


async def test_what_waits_is_bounded_and_the_oldest_goes_first(store: AccountsStore) -> None:
    async with recording(store, SessionLimits(max_waiting=3)) as recorder:
        log = recorder.open("p", "lobby", "s")
        await recorder.flush()
        for number in range(10):
            log.record("n", {"number": number})
        page = await recorder.events("s", limit=100, offset=0)
    assert [event.data["number"] for event in page.entries] == [7, 8, 9]


async def test_an_entry_that_fits_nowhere_does_not_spoil_the_others(store: AccountsStore) -> None:
    async with recording(store) as recorder:
        recorder.open("deleted project", "lobby", "lost").record("x", {})
        recorder.open("p", "lobby", "kept").record("x", {})
        await recorder.flush()
        assert await store.sessions.find(id="lost") is None
        assert len((await recorder.events("kept", limit=9, offset=0)).entries) == 1


async def test_what_a_crash_left_open_is_closed_at_the_next_start_but_not_other_servers_runs(
    store: AccountsStore,
) -> None:
    async with recording(store) as recorder:
        recorder.open("p", "lobby", "ours")
    async with recording(store, server="there") as other:
        other.open("p", "lobby", "theirs")
    async with recording(store):
        assert (await store.sessions.get(id="ours")).ended_at is not None
        assert (await store.sessions.get(id="theirs")).ended_at is None


async def test_old_and_surplus_sessions_go_with_their_events(store: AccountsStore) -> None:
    limits = SessionLimits(max_sessions=3, keep_days=10)
    await store.projects.add(Project(id="p", name="p"))
    recorder = SessionRecorder(store.database, server="here", limits=limits)  # not started: it prunes when told
    for age in (20, 5, 4, 3, 2, 1):
        at = now() - timedelta(days=age)
        ended = None if age == 5 else at
        await store.sessions.add(
            Session(id=f"s{age}", project_id="p", room_name="r", server="x", created_at=at, ended_at=ended)
        )
    async with store.database.transaction() as connection:
        await connection.execute(
            text("INSERT INTO session_events (session_id, at, type, data) VALUES ('s20', 1, 't', '{}')")
        )
    assert await recorder.prune() == 2
    kept = [session.id for session in await store.sessions.all()]
    assert kept == ["s5", "s3", "s2", "s1"]  # s5 has not ended, so it stays
    async with store.database.transaction() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM session_events"))).scalar_one() == 0


async def test_usage_counts_rooms(store: AccountsStore) -> None:
    async with recording(store) as recorder:
        start = now()
        for number, seconds in enumerate((10, 20)):
            await store.sessions.add(
                Session(
                    id=str(number),
                    project_id="p",
                    room_name="lobby",
                    server="x",
                    created_at=start,
                    ended_at=start + timedelta(seconds=seconds),
                    participants=2,
                )
            )
        usage = await recorder.usage("p")
    assert usage == [{"room_name": "lobby", "sessions": 2, "participants": 4, "seconds": 30.0}]
