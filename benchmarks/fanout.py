"""Room messaging, 256 bytes from one sender to 100 receivers: as fast as it goes, and 10,000 deliveries a second.

python -m benchmarks.fanout [--quick] [--rounds N] [-- server flags]
"""

from __future__ import annotations

import asyncio
import time

from benchmarks.load import Connection, FrameReader, Tally
from benchmarks.running import run_benchmark
from benchmarks.subjects import Subject, both
from benchmarks.support import Options, Samples, Usage, measure, percentile

RECEIVERS = 100
PAYLOAD = 256
TIMED_RECEIVERS = 4
WINDOW = 32
PACED_DELIVERIES_PER_SECOND = 10_000
MARK = b"@seq="
CALIBRATION = 20
PHASE_TIMEOUT = 30.0


def texts(count: int) -> list[str]:
    """`count` texts of `PAYLOAD` bytes that carry their number."""
    return [f"@seq={number:08d}".ljust(PAYLOAD, "x") for number in range(count)]


class TimedReceiver:
    """Reads every message and notes how many seconds it took, beside counting its bytes."""

    def __init__(self, tally: Tally, sent_at: list[float]) -> None:
        self._tally = tally
        self._sent_at = sent_at
        self._reader = FrameReader()
        self.latencies: list[float] = []

    def __call__(self, data: bytes) -> None:
        now = time.perf_counter()
        for payload in self._reader.feed(data):
            at = payload.find(MARK)
            if at >= 0:
                number = int(payload[at + len(MARK) : at + len(MARK) + 8])
                self.latencies.append(now - self._sent_at[number])
        self._tally(data)


class Room:
    """A sender and its receivers, most of which only count bytes.

    Args:
        frames: One message after the other, ready to be sent; all deliveries have the same size.
    """

    def __init__(self, sender: Connection, receivers: list[Connection], frames: list[bytes]) -> None:
        self._sender = sender
        self._receivers = receivers
        self._frames = frames
        self._sent_at: list[float] = []
        self._tally = Tally()
        self._timed = [TimedReceiver(self._tally, self._sent_at) for _ in receivers[:TIMED_RECEIVERS]]
        for receiver in receivers:
            receiver.sink = self._tally
        for receiver, timed in zip(receivers, self._timed, strict=False):
            receiver.sink = timed
        sender.sink = Tally()
        self._round_size = 0

    def _send(self) -> None:
        self._sent_at.append(time.perf_counter())
        self._sender.send(self._frames[len(self._sent_at) - 1])

    async def calibrate(self) -> None:
        """Learn how many bytes one message is to all receivers together."""
        await self._tally.quiet()
        before = self._tally.received
        for _ in range(CALIBRATION):
            self._send()
        await self._tally.quiet()
        grown = self._tally.received - before
        self._round_size, rest = divmod(grown, CALIBRATION)
        if rest or self._round_size < PAYLOAD * len(self._receivers):
            raise RuntimeError(f"{CALIBRATION} messages took {grown} bytes, which is no whole number of deliveries")
        self.forget()

    def forget(self) -> None:
        """Drop the latencies seen so far."""
        for receiver in self._timed:
            receiver.latencies.clear()

    async def saturate(self, count: int) -> None:
        """Send `count` messages, at most `WINDOW` of them on the way, and wait for all deliveries."""
        start = self._tally.received
        async with asyncio.timeout(PHASE_TIMEOUT):
            for number in range(count):
                await self._tally.reach(start + (number + 1 - WINDOW) * self._round_size)
                self._send()
            await self._tally.reach(start + count * self._round_size)

    async def pace(self, count: int, per_second: float) -> None:
        """Send `count` messages at an even rate and wait for all deliveries."""
        start, started = self._tally.received, time.perf_counter()
        async with asyncio.timeout(PHASE_TIMEOUT):
            for number in range(count):
                await asyncio.sleep(max(0.0, started + number / per_second - time.perf_counter()))
                self._send()
            await self._tally.reach(start + count * self._round_size)

    def latencies(self) -> list[float]:
        """Seconds from sending to reading, of the timed receivers."""
        return [value for receiver in self._timed for value in receiver.latencies]

    def close(self) -> None:
        """Everybody leaves."""
        for connection in [self._sender, *self._receivers]:
            connection.close()


async def fill_room(subject: Subject, name: str, messages: int) -> Room:
    """A calibrated room with frames for `messages` messages."""
    frames = subject.broadcasts(texts(messages + CALIBRATION))
    receivers = [
        await subject.join(name, subject.token(name, f"receiver{n}"), messaging=True) for n in range(RECEIVERS)
    ]
    sender = await subject.join(name, subject.token(name, "sender"), messaging=True)
    room = Room(sender, receivers, frames)
    await room.calibrate()
    return room


def figures(usage: Usage, deliveries: int, latencies: list[float]) -> dict[str, float]:
    """The figures of one run."""
    return {
        "deliveries/s": deliveries / usage.wall,
        "server CPU µs/delivery": usage.server_microseconds(deliveries),
        "p50 ms": percentile(latencies, 50) * 1e3,
        "p99 ms": percentile(latencies, 99) * 1e3,
        "generator cores": usage.generator_cpu / usage.wall,
        "cores of other jobs": usage.other_cores,
    }


async def saturated(subject: Subject, name: str, messages: int) -> dict[str, float]:
    """As fast as the server delivers."""
    warm_up = messages // 10
    room = await fill_room(subject, name, messages + warm_up)
    await room.saturate(warm_up)
    room.forget()
    usage = await measure(subject.pid, lambda: room.saturate(messages))
    latencies = room.latencies()
    room.close()
    return figures(usage, messages * RECEIVERS, latencies)


async def paced(subject: Subject, name: str, seconds: float) -> dict[str, float]:
    """A steady load far below what the server can do: latency and the cost without batching."""
    per_second = PACED_DELIVERIES_PER_SECOND / RECEIVERS
    messages = int(per_second * seconds)
    room = await fill_room(subject, name, messages)
    usage = await measure(subject.pid, lambda: room.pace(messages, per_second))
    latencies = room.latencies()
    room.close()
    return figures(usage, messages * RECEIVERS, latencies)


async def run(options: Options, samples: Samples) -> None:
    """Measure both subjects in turn."""
    async with both(options) as subjects:
        for turn in range(options.rounds):
            for subject in subjects:
                work = await saturated(subject, f"fanout{turn}", options.scaled(2000, 100))
                samples.add(subject.name, "fan-out 1 to 100, 256 B, saturated", work)
                work = await paced(subject, f"paced{turn}", options.scaled(30, 3) / 10)
                samples.add(subject.name, "fan-out 1 to 100, 256 B, 10,000/s", work)


if __name__ == "__main__":
    run_benchmark(run, __doc__)
