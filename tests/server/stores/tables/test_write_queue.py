"""The order of writes to one table, and inserts that share a step."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from meshagent.api.contracts.database import Row
from meshagent.api.errors import ConflictError, InternalError, InvalidStateError, LimitExceededError, RoomException
from meshagent.server.stores.tables.write_queue import WriteQueue


class Recorder:
    """What the line calls: remembers it, and waits at `gate`."""

    def __init__(self) -> None:
        self.steps: list[object] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.running = 0

    async def insert(self, requests: Sequence[Sequence[Row]]) -> Sequence[RoomException | None]:
        await self._step([row["n"] for rows in requests for row in rows])
        return [ConflictError("bad") if rows == [{"n": -1}] else None for rows in requests]

    async def after(self, idle: bool) -> None:
        self.steps.append("idle" if idle else "busy")
        if self.failure is not None:
            raise self.failure

    async def work(self) -> str:
        await self._step("work")
        return "done"

    async def _step(self, what: object) -> None:
        assert not self.running
        self.running += 1
        await self.gate.wait()
        self.running -= 1
        self.steps.append(what)


def make_line(recorder: Recorder, *, max_waiting: int = 100, max_group_rows: int = 4) -> WriteQueue:
    return WriteQueue(
        insert=recorder.insert, after=recorder.after, max_waiting=max_waiting, max_group_rows=max_group_rows
    )


async def test_neighbouring_inserts_share_a_step_and_nothing_overtakes() -> None:
    recorder = Recorder()
    line = make_line(recorder)
    futures: list[asyncio.Future[Any]] = [line.insert([{"n": n}]) for n in range(6)]
    futures += [line.run(recorder.work), line.insert([{"n": 6}]), line.insert([{"n": n} for n in range(7, 12)])]
    assert await asyncio.gather(*futures) == [None] * 6 + ["done", None, None]
    await line.close()
    writes = [step for step in recorder.steps if step not in ("busy", "idle")]
    assert writes == [[0, 1, 2, 3], [4, 5], "work", [6], [7, 8, 9, 10, 11]]
    assert recorder.steps[-1] == "idle"
    assert recorder.steps.count("idle") == 1


async def test_a_failure_reaches_its_own_request_alone() -> None:
    line = make_line(Recorder())
    futures = [line.insert([{"n": n}]) for n in (1, -1, 2)]
    answers = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), ConflictError, type(None)]


@pytest.mark.parametrize(
    ("raised", "expected"), [(ConflictError("x"), ConflictError), (ZeroDivisionError(), InternalError)]
)
async def test_work_that_fails_does_not_stop_the_line(raised: Exception, expected: type[Exception]) -> None:
    async def fail() -> None:
        raise raised

    recorder = Recorder()
    line = make_line(recorder)
    failing, following = line.run(fail), line.run(recorder.work)
    with pytest.raises(expected):
        await failing
    assert await following == "done"


@pytest.mark.parametrize("failure", [ConflictError("x"), ZeroDivisionError()])
async def test_failing_maintenance_does_not_stop_the_queue(failure: Exception) -> None:
    recorder = Recorder()
    recorder.failure = failure
    line = make_line(recorder)
    for _ in range(3):
        assert await line.run(recorder.work) == "done"
    await line.close()


async def test_what_nobody_waits_for_any_more_is_done_all_the_same() -> None:
    recorder = Recorder()
    recorder.gate.clear()
    line = make_line(recorder)
    first, second = line.run(recorder.work), line.insert([{"n": 1}])
    await asyncio.sleep(0)
    first.cancel()
    second.cancel()
    recorder.gate.set()
    await line.close()
    assert [step for step in recorder.steps if step not in ("busy", "idle")] == ["work", [1]]
    assert line.idle


async def test_a_full_line_refuses() -> None:
    recorder = Recorder()
    recorder.gate.clear()
    line = make_line(recorder, max_waiting=2)
    running = line.run(recorder.work)
    await asyncio.sleep(0)
    waiting = [line.insert([{"n": 1}]), line.run(recorder.work)]
    with pytest.raises(LimitExceededError) as caught:
        line.insert([{"n": 2}])
    assert caught.value.limit == 2
    recorder.gate.set()
    await asyncio.gather(running, *waiting)


async def test_closing_finishes_what_was_taken_and_takes_no_more() -> None:
    recorder = Recorder()
    line = make_line(recorder)
    future = line.insert([{"n": 1}])
    await line.close()
    assert future.done()
    with pytest.raises(InvalidStateError):
        line.insert([{"n": 2}])
