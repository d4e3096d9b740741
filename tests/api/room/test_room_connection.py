"""`RoomConnection`: which hooks of sub-clients are called when, and what their failures do."""

from __future__ import annotations

import asyncio

import pytest

from meshagent.api.errors import ConnectionLostError, RoomException
from meshagent.api.room import connection
from meshagent.api.room.connection import RoomConnection
from meshagent.api.room.core import ConnectionHooks
from meshagent.api.room.reconnect import ReconnectPolicy
from tests.support.scripted_server import BreakableProtocol


def room(protocol: BreakableProtocol, *, auto_reconnect: bool = True) -> RoomConnection:
    return RoomConnection(protocol, auto_reconnect=auto_reconnect, policy=ReconnectPolicy(initial_delay=0))


class Hooks:
    """Records what is called, and when."""

    def __init__(self, name: str, seen: list[str], failure: Exception | None = None) -> None:
        self._name = name
        self._seen = seen
        self._failure = failure

    def hooks(self) -> ConnectionHooks:
        return ConnectionHooks(
            name=self._name,
            lost=lambda: self._seen.append(f"{self._name} lost"),
            restore=self._restore,
            before_leave=self._before_leave,
            left=lambda: self._seen.append(f"{self._name} left"),
        )

    async def _restore(self, same_run: bool) -> None:
        self._seen.append(f"{self._name} restored, same run: {same_run}")
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    async def _before_leave(self) -> None:
        self._seen.append(f"{self._name} delivered")


async def restored(core: RoomConnection, protocol: BreakableProtocol) -> None:
    """Break the connection and wait until it is back."""
    back = asyncio.Event()
    core.events.on("reconnected", back.set)
    protocol.break_connection()
    await asyncio.wait_for(back.wait(), 5)


async def test_hooks_are_called_in_their_order() -> None:
    protocol, seen = BreakableProtocol(), list[str]()
    core = room(protocol)
    for name in ("a", "b"):
        core.follow_connection(Hooks(name, seen).hooks())
    core.follow_connection(ConnectionHooks(name="nothing to do"))
    await core.join()
    number = core.connection_number
    await restored(core, protocol)
    assert core.connection_number != number
    await core.leave()
    assert seen == [
        *("a lost", "b lost"),
        *("a restored, same run: True", "b restored, same run: True"),
        *("a delivered", "b delivered"),
        *("a lost", "b lost"),
        *("a left", "b left"),
    ]


async def test_a_refused_restoration_is_logged_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    protocol, seen = BreakableProtocol(), list[str]()
    core = room(protocol)
    core.follow_connection(Hooks("the first", seen, RoomException("not any more")).hooks())
    core.follow_connection(Hooks("the second", seen).hooks())
    await core.join()
    await restored(core, protocol)
    await core.leave()
    assert "reconnected without the first: not any more" in caplog.text
    assert "the second restored, same run: True" in seen


async def test_a_connection_that_is_lost_during_the_restoration_is_made_again() -> None:
    protocol, seen = BreakableProtocol(), list[str]()
    core = room(protocol)
    core.follow_connection(Hooks("it", seen, ConnectionLostError("gone again")).hooks())
    await core.join()
    await restored(core, protocol)
    assert seen.count("it restored, same run: True") == 2
    assert protocol.attempts == 3
    await core.leave()


async def test_what_takes_too_long_to_deliver_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection, "LEAVE_TIMEOUT", 0.0)

    async def never() -> None:
        await asyncio.Event().wait()

    core = room(BreakableProtocol())
    core.follow_connection(ConnectionHooks(name="it", before_leave=never))
    await core.join()
    await core.leave()
    assert core.is_closed
    assert "left the room before all edits were sent" in caplog.text
