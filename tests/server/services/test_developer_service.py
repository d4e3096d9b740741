"""The developer log without a wire: who sees which entries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from meshagent.api.contracts import developer as api
from meshagent.api.contracts.operation import EMPTY
from meshagent.api.errors import PermissionDeniedError
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.kernel.room_log import RoomLog
from meshagent.server.services.developer import DeveloperService
from tests.support.fake_room import FakeRoom, PublishedEvent, fake_participant, start_operation


class Scene:
    """A room with a log that keeps the server's entries, and two people in it."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, Mapping[str, Any]]] = []
        self.room = FakeRoom()
        self.log = RoomLog(lambda entry_type, data: self.kept.append((entry_type, data)))
        self.service = DeveloperService(self.room, self.log)
        self.alice, self.bob = (self.room.join(fake_participant(name)) for name in ("alice", "bob"))


def entry(entry_type: str, data: dict[str, Any], *receivers: str) -> PublishedEvent:
    return PublishedEvent("developer.log", {"type": entry_type, "data": data}, b"", receivers)


def test_an_entry_goes_to_watchers_and_its_writer_is_one_of_them() -> None:
    scene = Scene()
    scene.service.log(scene.alice, api.LogEntry(type="unseen"))
    scene.service.watch(scene.alice, EMPTY)
    scene.service.watch(scene.bob, EMPTY)
    scene.service.watch(scene.bob, EMPTY)
    scene.service.log(scene.alice, api.LogEntry(type="note", data={"n": 1}))
    assert scene.room.take_events() == [entry("note", {"n": 1}, "alice-id", "bob-id")]
    assert scene.kept == []  # the record of the run has the server's own entries only


def test_the_servers_entries_are_kept_and_shown() -> None:
    scene = Scene()
    scene.log.record("room.error", {"error": "KeyError"})
    assert scene.room.take_events() == []
    scene.service.watch(scene.bob, EMPTY)
    scene.log.record("room.participant_left", {"name": "carol"})
    assert scene.room.take_events() == [entry("room.participant_left", {"name": "carol"}, "bob-id")]
    assert [kind for kind, _ in scene.kept] == ["room.error", "room.participant_left"]


@pytest.mark.parametrize("how", ["unwatch", "leave", "close"])
async def test_who_stops_watching_sees_no_more(how: str) -> None:
    scene = Scene()
    scene.service.watch(scene.alice, EMPTY)
    if how == "unwatch":
        scene.service.unwatch(scene.alice, EMPTY)
    elif how == "leave":
        scene.room.leave(scene.alice, scene.service)
    else:
        await scene.service.close()
    scene.service.log(scene.bob, api.LogEntry(type="note"))
    assert scene.room.take_events() == []


async def test_watching_needs_a_grant_and_writing_none() -> None:
    scene = Scene()
    nobody = scene.room.join(fake_participant("nobody", scope=ApiScope()))
    with pytest.raises(PermissionDeniedError):
        await start_operation(scene.service.operations(), api.WATCH, nobody, EMPTY)
    assert await start_operation(scene.service.operations(), api.LOG, nobody, api.LogEntry(type="note")) is EMPTY
    assert await start_operation(scene.service.operations(), api.UNWATCH, nobody, EMPTY) is EMPTY
