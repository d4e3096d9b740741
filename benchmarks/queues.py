"""Durable queues: putting messages in and taking them out, 64 on the way and one at a time, and waking a receiver.

    python -m benchmarks.queues [--quick] [--rounds N] [-- server flags]

Every message is on the disk before it is acknowledged, and so is its removal before it is handed over. The yardstick
does the same with SQLite by hand: a table, and one transaction for each message.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

from benchmarks.load import Connection, client_frame
from benchmarks.requests import Answers, Requester, RoomAnswers, YardstickAnswers, figures, room_request
from benchmarks.running import run_benchmark
from benchmarks.subjects import RoomServer, Session, Subject, both
from benchmarks.support import Options, Samples, measure, percentile

MESSAGE = {"job": "x" * 100}
BODY = b"x" * 110
WINDOWS = {"1 on the way": 1, "64 on the way": 64}
WAKE_PAUSE = 0.002
"""Seconds between wakes: a receiver that waits, on a server that is idle."""


class QueueWork(ABC):
    """One queue of one of the subjects."""

    def __init__(self, subject: Subject, name: str) -> None:
        self.subject = subject
        self._name = name

    def _token(self, participant: str) -> str:
        return self.subject.token("queues", participant)

    @abstractmethod
    async def join(self, participant: str) -> Connection:
        """A connection that can use the queue."""

    @abstractmethod
    def puts(self, count: int) -> Sequence[bytes]:
        """Frames of requests that put a message in."""

    @abstractmethod
    def gets(self, count: int) -> Sequence[bytes]:
        """Frames of requests that take one out, and wait for it."""

    @abstractmethod
    def answers(self) -> Answers:
        """Reads answers on one connection."""

    @abstractmethod
    async def check_empty(self) -> None:
        """See that everything that was put in has come out.

        Raises:
            RuntimeError: Something is left.
        """


class RoomQueue(QueueWork):
    """`queues.send` and `queues.receive`."""

    async def join(self, participant: str) -> Connection:
        return await self.subject.join("queues", self._token(participant))

    def puts(self, count: int) -> Sequence[bytes]:
        header = {"name": self._name, "create": True, "message": MESSAGE}
        return [room_request(number, "queues.send", header) for number in range(count)]

    def gets(self, count: int) -> Sequence[bytes]:
        header = {"name": self._name, "create": True, "wait": True}
        return [room_request(number, "queues.receive", header) for number in range(count)]

    def answers(self) -> Answers:
        return RoomAnswers()

    async def check_empty(self) -> None:
        session = Session(await self.join("checker"))
        left, _ = await session.request("queues.receive", {"name": self._name, "wait": False})
        session.connection.close()
        if left["type"] != "empty":
            raise RuntimeError("messages are left in the queue")


class SqliteQueueWork(QueueWork):
    """The yardstick's queue, of which there is one."""

    async def join(self, participant: str) -> Connection:
        return await Connection.open(self.subject.port, f"/queue?token={self._token(participant)}")

    def puts(self, count: int) -> Sequence[bytes]:
        return [client_frame(number.to_bytes(8, "big") + b"p" + BODY) for number in range(count)]

    def gets(self, count: int) -> Sequence[bytes]:
        return [client_frame(number.to_bytes(8, "big") + b"g") for number in range(count)]

    def answers(self) -> Answers:
        return YardstickAnswers()

    async def check_empty(self) -> None:
        """Every get was answered with another message, and there were as many as puts."""


async def in_and_out(work: QueueWork, count: int, window: int) -> tuple[dict[str, float], dict[str, float]]:
    """Figures of putting `count` messages in, and of taking them out."""
    warm_up = count // 10
    sender, receiver = await work.join("sender"), await work.join("receiver")
    puts = Requester(sender, work.answers(), work.puts(count + warm_up))
    gets = Requester(receiver, work.answers(), work.gets(count + warm_up))
    await puts.run(warm_up, window)
    usage = await measure(work.subject.pid, lambda: puts.run(count, window))
    into = figures(usage, count, puts.seconds, "message")
    await gets.run(warm_up, window)
    usage = await measure(work.subject.pid, lambda: gets.run(count, window))
    out = figures(usage, count, gets.seconds, "message")
    await work.check_empty()
    for connection in (sender, receiver):
        connection.close()
    return into, out


async def wakes(work: QueueWork, count: int) -> dict[str, float]:
    """How long it takes from sending a message until a receiver that waits for it has it."""
    sender, receiver = await work.join("sender"), await work.join("receiver")
    puts = Requester(sender, work.answers(), work.puts(count))
    gets = Requester(receiver, work.answers(), work.gets(count))
    seconds: list[float] = []

    async def wake_all() -> None:
        for _ in range(count):
            waiting = asyncio.ensure_future(gets.run(1, 1))
            await asyncio.sleep(WAKE_PAUSE)
            started = time.perf_counter()
            sending = asyncio.ensure_future(puts.run(1, 1))
            await waiting
            seconds.append(time.perf_counter() - started)
            await sending

    usage = await measure(work.subject.pid, wake_all)
    for connection in (sender, receiver):
        connection.close()
    return {
        "server CPU µs/message": usage.server_microseconds(count),
        "p50 ms": percentile(seconds, 50) * 1e3,
        "p99 ms": percentile(seconds, 99) * 1e3,
        "cores of other jobs": usage.other_cores,
    }


async def run(options: Options, samples: Samples) -> None:
    """Measure both subjects in turn."""
    async with both(options) as subjects:
        for turn in range(options.rounds):
            for name, window in WINDOWS.items():
                for subject in subjects:
                    kind = RoomQueue if isinstance(subject, RoomServer) else SqliteQueueWork
                    count = options.scaled(30_000 if window > 1 else 500, 100)
                    into, out = await in_and_out(kind(subject, f"jobs{turn}-{window}"), count, window)
                    samples.add(subject.name, f"queue, in, {name}", into)
                    samples.add(subject.name, f"queue, out, {name}", out)
            for subject in subjects:
                kind = RoomQueue if isinstance(subject, RoomServer) else SqliteQueueWork
                woken = await wakes(kind(subject, f"wakes{turn}"), options.scaled(500, 20))
                samples.add(subject.name, "queue, waking a receiver", woken)


if __name__ == "__main__":
    run_benchmark(run, __doc__)
