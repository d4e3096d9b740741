"""The timing wheel, on a clock of its own."""

from __future__ import annotations

import pytest

from meshagent.server.websocket.heartbeat import Heartbeat
from tests.support.fake_loop import FakeLoop


class Connection:
    """Notes when it was probed or given up."""

    def __init__(self, loop: FakeLoop) -> None:
        self.heard_at = loop.now
        self.buffered = 0
        self.taken = 0
        self.reading_paused = False
        self.probes: list[float] = []
        self.given_up: list[float] = []
        self._loop = loop

    def probe(self) -> None:
        self.probes.append(round(self._loop.now))

    def silent(self) -> None:
        self.given_up.append(round(self._loop.now))


@pytest.fixture
def loop() -> FakeLoop:
    return FakeLoop()


@pytest.fixture
def heartbeat(loop: FakeLoop) -> Heartbeat:
    return Heartbeat(loop.as_loop(), interval=30, timeout=20)


def test_a_silent_connection_is_probed_then_given_up_once(loop: FakeLoop, heartbeat: Heartbeat) -> None:
    connection = Connection(loop)
    heartbeat.add(connection)
    loop.advance(300)
    assert (connection.probes, connection.given_up) == ([30], [50])
    assert len(heartbeat) == 0


def test_an_answer_saves_it_until_the_next_silence(loop: FakeLoop, heartbeat: Heartbeat) -> None:
    connection = Connection(loop)
    heartbeat.add(connection)
    loop.advance(31)
    connection.heard_at = loop.now
    loop.advance(300)
    assert (connection.probes, connection.given_up) == ([30, 61], [81])


def test_a_connection_that_sends_is_never_probed(loop: FakeLoop, heartbeat: Heartbeat) -> None:
    connection = Connection(loop)
    heartbeat.add(connection)
    for _ in range(20):
        loop.advance(29)
        connection.heard_at = loop.now
    assert connection.probes == []


def test_silence_of_our_own_making_does_not_count(loop: FakeLoop, heartbeat: Heartbeat) -> None:
    connection = Connection(loop)
    heartbeat.add(connection)
    loop.advance(31)
    connection.reading_paused = True
    loop.advance(300)
    assert (connection.probes, connection.given_up) == ([30], [])


def test_the_timer_rests_while_nothing_is_watched(loop: FakeLoop, heartbeat: Heartbeat) -> None:
    first, second = Connection(loop), Connection(loop)
    heartbeat.add(first)
    loop.advance(10)
    heartbeat.add(second)
    heartbeat.discard(first)
    heartbeat.discard(first)
    loop.advance(31)
    assert (first.probes, second.probes) == ([], [40])
    heartbeat.discard(second)
    assert all(handle.cancelled for handle in loop.handles)


def test_a_connection_may_end_while_its_slot_is_looked_at(loop: FakeLoop, heartbeat: Heartbeat) -> None:
    first, second = Connection(loop), Connection(loop)
    first.probe = lambda: heartbeat.discard(second)  # type: ignore[method-assign]
    heartbeat.add(first)
    heartbeat.add(second)
    loop.advance(49)
    assert second.probes == []
    assert len(heartbeat) == 1


def test_a_connection_that_reads_a_long_backlog_is_not_given_up(loop: FakeLoop, heartbeat: Heartbeat) -> None:
    connection = Connection(loop)
    heartbeat.add(connection)
    connection.buffered = 1000
    for _ in range(10):
        loop.advance(15)
        connection.taken += 1
    assert connection.probes == [30]
    assert connection.given_up == []
    loop.advance(50)
    assert len(connection.given_up) == 1
