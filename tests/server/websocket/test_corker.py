"""Corking: one flush per turn, a window under load, and no connection harms another."""

from __future__ import annotations

import pytest

from meshagent.server.websocket.corker import Corker
from tests.support.fake_loop import FakeLoop


class Connection:
    """Notes when it is flushed; a flush may take some time or fail."""

    def __init__(self, loop: FakeLoop, *, seconds: float = 0.0, error: Exception | None = None) -> None:
        self.flushed_at: list[float] = []
        self._loop = loop
        self._seconds = seconds
        self._error = error

    def flush(self) -> None:
        self.flushed_at.append(self._loop.now)
        self._loop.now += self._seconds
        if self._error is not None:
            raise self._error


@pytest.fixture
def loop() -> FakeLoop:
    return FakeLoop()


@pytest.fixture
def corker(loop: FakeLoop) -> Corker:
    return Corker(loop.as_loop(), loop.time)


def test_a_light_load_is_flushed_in_the_next_turn(loop: FakeLoop, corker: Corker) -> None:
    connections = [Connection(loop, seconds=0.00001) for _ in range(2)]
    for turn in range(1, 4):
        for connection in connections:
            corker.add(connection)
            assert len(connection.flushed_at) == turn - 1
        assert len(loop.handles) == 1
        loop.advance()
        assert [len(connection.flushed_at) for connection in connections] == [turn, turn]


@pytest.mark.parametrize(("flush_seconds", "window"), [(0.001, 0.002), (0.1, 0.005)])
def test_after_a_long_flush_the_next_waits_twice_as_long_up_to_5_ms(
    loop: FakeLoop, corker: Corker, flush_seconds: float, window: float
) -> None:
    busy, following = Connection(loop, seconds=flush_seconds), Connection(loop)
    corker.add(busy)
    loop.advance()
    corker.add(following)
    loop.advance(1)
    assert following.flushed_at == [pytest.approx(flush_seconds + window)]


def test_a_pause_after_a_long_flush_ends_the_window(loop: FakeLoop, corker: Corker) -> None:
    busy, following = Connection(loop, seconds=0.01), Connection(loop)
    corker.add(busy)
    loop.advance(0.1)
    corker.add(following)
    loop.advance()
    assert following.flushed_at == [loop.now]


def test_a_connection_that_fails_does_not_keep_the_others_back(
    loop: FakeLoop, corker: Corker, caplog: pytest.LogCaptureFixture
) -> None:
    broken, healthy = Connection(loop, error=RuntimeError("gone")), Connection(loop)
    corker.add(broken)
    corker.add(healthy)
    loop.advance()
    assert len(healthy.flushed_at) == 1
    assert "flushing a connection failed" in caplog.text


def test_closing_flushes_at_once(loop: FakeLoop, corker: Corker) -> None:
    connection = Connection(loop)
    corker.add(connection)
    corker.close()
    loop.advance(1)
    assert connection.flushed_at == [0.0]
