"""How handlers of events are called, and the tasks that belong to one object."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshagent.api.room.events import EventSource
from meshagent.api.room.tasks import OwnedTasks


class Recorder:
    """Handlers of many signatures; `calls` says what they got."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def all(self, **values: Any) -> None:
        self.calls.append(values)

    def some(self, b: int) -> None:
        self.calls.append(b)

    def other_name(self, event: int) -> None:
        self.calls.append(event)

    def with_default(self, a: int, c: int = 7) -> None:
        self.calls.append((a, c))

    def nothing(self) -> None:
        self.calls.append("nothing")


async def test_handlers_get_what_they_take() -> None:
    source, recorder = EventSource(OwnedTasks().start), Recorder()
    for handler in (recorder.all, recorder.some, recorder.other_name, recorder.with_default, recorder.nothing):
        source.on("e", handler)
    source.emit("e", a=1, b=2)
    assert recorder.calls == [{"a": 1, "b": 2}, 2, 1, (1, 7), "nothing"]


async def test_a_handler_may_remove_itself_and_builtins_work() -> None:
    source, seen = EventSource(OwnedTasks().start), []

    def once(a: int) -> None:
        seen.append(a)
        source.off("e", once)

    source.on("e", once)
    source.on("e", seen.append)
    source.emit("e", a=1)
    source.emit("e", a=2)
    assert seen == [1, 1, 2]


async def test_coroutine_handlers_start_in_order_and_end_with_their_owner() -> None:
    tasks = OwnedTasks()
    source, started = EventSource(tasks.start), []

    async def handler(n: int) -> None:
        started.append(n)
        await asyncio.Event().wait()

    source.on("e", handler)
    for n in range(3):
        source.emit("e", n=n)
    await asyncio.sleep(0)
    assert started == [0, 1, 2]
    await tasks.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_failures_of_owned_tasks_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError("its own fault")

    tasks = OwnedTasks()
    task = tasks.start(fail(), "some work")
    await asyncio.wait([task])
    await tasks.close()
    assert "some work failed" in caplog.text
