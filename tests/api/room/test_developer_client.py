"""`room.developer` on a fake core: writing the log and watching it."""

from __future__ import annotations

from typing import Any

from meshagent.api.errors import UnavailableError
from meshagent.api.room.developer import DeveloperClient
from tests.support.fake_core import FakeCore


async def test_entries_are_written_in_order() -> None:
    core = FakeCore()
    developer = DeveloperClient(core)
    await developer.log("step", {"n": 1})
    developer.log_nowait(type="step", data={"n": 2})
    await core.settle()
    assert core.requests == [("developer.log", {"type": "step", "data": {"n": n}}, b"") for n in (1, 2)]


async def test_a_refused_entry_is_logged_here() -> None:
    def refuse(header: dict[str, Any], payload: bytes) -> object:
        raise UnavailableError("the log is full")

    core = FakeCore()
    core.answers["developer.log"] = refuse
    DeveloperClient(core).log_nowait(type="step", data={})
    await core.settle()
    assert core.failures == ["a log entry of type 'step' was not written: the log is full"]


async def test_entries_of_others_are_events() -> None:
    core = FakeCore()
    developer = DeveloperClient(core)
    seen: list[tuple[str, object]] = []
    developer.on("log", lambda type, data: seen.append((type, data)))
    core.deliver("developer.log", {"type": "t", "data": {"a": 1}})
    core.deliver("developer.log", {})
    assert seen == [("t", {"a": 1}), ("unknown", {})]


async def test_the_watch_survives_reconnecting_until_it_is_disabled() -> None:
    core = FakeCore()
    developer = DeveloperClient(core)
    await core.reconnect()
    assert core.requests == []  # not enabled
    await developer.enable()
    await core.reconnect()
    await developer.disable()
    await core.reconnect()
    assert [name for name, _, _ in core.requests] == ["developer.watch", "developer.watch", "developer.unwatch"]
