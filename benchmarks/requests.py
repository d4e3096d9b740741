"""Requests and their answers on one connection, many on the way at a time."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

from benchmarks.load import Connection, FrameReader
from benchmarks.subjects import FIRST_EDIT_ID, message_frames
from benchmarks.support import Usage, percentile
from meshagent.api.wire import envelope
from meshagent.api.wire.packets import Reassembler

TIME_LIMIT = 60.0


class Answers(ABC):
    """Reads answers; one for each connection."""

    @abstractmethod
    def feed(self, data: bytes) -> list[int]:
        """The numbers of the requests that `data` answers; requests count from 0.

        Raises:
            RuntimeError: A request was refused.
        """


class RoomAnswers(Answers):
    """`__response__` messages to requests of `room_request`, without reading their JSON."""

    def __init__(self) -> None:
        self._frames = FrameReader()
        self._messages = Reassembler()

    def feed(self, data: bytes) -> list[int]:
        numbers = []
        for payload in self._frames.feed(data):
            message = self._messages.receive(payload)
            if message is None or message.type != "__response__":
                continue
            if b'"type":"error"' in message.data[:64]:
                raise RuntimeError(f"a request was refused: {message.data!r}")
            numbers.append(message.id - FIRST_EDIT_ID)
        return numbers


class YardstickAnswers(Answers):
    """Frames that begin with the number of the request, 8 bytes."""

    def __init__(self) -> None:
        self._frames = FrameReader()

    def feed(self, data: bytes) -> list[int]:
        return [int.from_bytes(payload[:8], "big") for payload in self._frames.feed(data)]


def room_request(number: int, message_type: str, header: object) -> bytes:
    """The frames of a request of the room protocol; `RoomAnswers` finds its number again."""
    return message_frames(FIRST_EDIT_ID + number, message_type, envelope.pack(header))


class Requester:
    """Sends prepared requests, a given number of them on the way, and notes how many seconds each took.

    What one piece of arriving data makes room for leaves in one write, so that the generator costs the same
    whichever server it drives.
    """

    def __init__(self, connection: Connection, answers: Answers, requests: Sequence[bytes]) -> None:
        self._connection = connection
        self._answers = answers
        self._requests = requests
        self._sent_at: list[float] = []
        self._end = 0
        self._answered = 0
        self._done = asyncio.Event()
        self._failure: Exception | None = None
        self.seconds: list[float] = []
        connection.sink = self._receive

    async def run(self, count: int, window: int) -> None:
        """Send the next `count` requests, `window` at a time, and wait for all answers.

        Raises:
            RuntimeError: One was refused.
            ConnectionError: The connection ended.
        """
        self.seconds.clear()
        self._end += count
        self._done.clear()
        self._send(min(window, count))
        async with asyncio.timeout(TIME_LIMIT):
            await self._done.wait()
        if self._failure is not None:
            raise self._failure

    def _send(self, count: int) -> None:
        first = len(self._sent_at)
        count = min(count, self._end - first)
        if count > 0:
            self._sent_at += [time.perf_counter()] * count
            self._connection.send(b"".join(self._requests[first : first + count]))

    def _receive(self, data: bytes) -> None:
        try:
            numbers = self._answers.feed(data)
        except (RuntimeError, ConnectionError) as error:
            self._failure = error
            self._done.set()
            return
        now = time.perf_counter()
        self.seconds += [now - self._sent_at[number] for number in numbers]
        self._answered += len(numbers)
        self._send(len(numbers))
        if self._answered == self._end:
            self._done.set()


def plural(what: str) -> str:
    """Several of them."""
    return what + ("es" if what.endswith("ch") else "s")


def figures(usage: Usage, count: int, seconds: Sequence[float], what: str) -> dict[str, float]:
    """The figures of `count` requests; `what` names one of them."""
    return {
        f"{plural(what)}/s": count / usage.wall,
        f"server CPU µs/{what}": usage.server_microseconds(count),
        "p50 ms": percentile(seconds, 50) * 1e3,
        "p99 ms": percentile(seconds, 99) * 1e3,
        "generator cores": usage.generator_cpu / usage.wall,
        "cores of other jobs": usage.other_cores,
    }
