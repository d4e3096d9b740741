"""Tool calls through the room, from one participant to another and back: one at a time, and 32 on the way.

    python -m benchmarks.tools [--quick] [--rounds N] [-- server flags]

The yardstick is a bare relay, which sends every frame to the other socket: no toolkits, no grants, no callers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from benchmarks.load import Connection, FrameReader, client_frame
from benchmarks.requests import Answers, Requester, RoomAnswers, YardstickAnswers, figures, room_request
from benchmarks.running import run_benchmark
from benchmarks.subjects import RoomServer, Session, Subject, both, message_frames
from benchmarks.support import Options, Samples, measure
from meshagent.api.wire import envelope
from meshagent.api.wire.packets import Reassembler

TEXT = "x" * 100
WINDOWS = {"1 on the way": 1, "32 on the way": 32}


class CallPath(ABC):
    """How calls travel through one of the subjects."""

    def __init__(self, subject: Subject, room: str) -> None:
        self._subject = subject
        self._room = room

    async def _join(self, name: str) -> Connection:
        return await self._subject.join(self._room, self._subject.token(self._room, name))

    @abstractmethod
    async def open_host(self) -> Connection:
        """A participant that answers every call with what the caller sent."""

    async def open_caller(self) -> Connection:
        """A participant that calls; after the host."""
        return await self._join("caller")

    @abstractmethod
    def calls(self, count: int) -> Sequence[bytes]:
        """Frames of calls, one after the other."""

    @abstractmethod
    def answers(self) -> Answers:
        """Reads answers on the caller's side."""


class RoomCalls(CallPath):
    """`agent.invoke_tool`, and a toolkit that a participant registered."""

    async def open_host(self) -> Connection:
        host = Session(await self._join("host"))
        tool = {"title": "Echo", "description": "says what it hears", "input_schema": {"type": "object"}}
        toolkit = {"name": "bench", "title": "", "description": "", "public": True, "tools": {"echo": tool}}
        await host.request("agent.register_toolkit", toolkit)
        answer_with(host.connection, self._answerer())
        return host.connection

    def _answerer(self) -> Callable[[bytes], list[bytes]]:
        frames, messages = FrameReader(), Reassembler()
        result = envelope.pack({"type": "json", "json": {"text": TEXT}})

        def answer(data: bytes) -> list[bytes]:
            calls = (messages.receive(payload) for payload in frames.feed(data))
            return [
                message_frames(call.id, "agent.tool_call_response", result)
                for call in calls
                if call is not None and call.type == "agent.tool_call.bench"
            ]

        return answer

    def calls(self, count: int) -> Sequence[bytes]:
        call = {"toolkit": "bench", "tool": "echo", "arguments": {"text": TEXT}}
        return [room_request(number, "agent.invoke_tool", call) for number in range(count)]

    def answers(self) -> Answers:
        return RoomAnswers()


class RelayedCalls(CallPath):
    """Frames with a number, which a room of two relays."""

    async def open_host(self) -> Connection:
        host = await self._join("host")
        frames = FrameReader()
        answer_with(host, lambda data: [client_frame(payload) for payload in frames.feed(data)])
        return host

    def calls(self, count: int) -> Sequence[bytes]:
        return [client_frame(number.to_bytes(8, "big") + TEXT.encode()) for number in range(count)]

    def answers(self) -> Answers:
        return YardstickAnswers()


def answer_with(connection: Connection, answer: Callable[[bytes], list[bytes]]) -> None:
    """Let `answer` make frames of what arrives, and send them in one write."""

    def sink(data: bytes) -> None:
        if frames := answer(data):
            connection.send(b"".join(frames))

    connection.sink = sink


async def round_trips(path: CallPath, subject: Subject, count: int, window: int) -> dict[str, float]:
    """Calls with `window` of them on the way, after a warm-up."""
    warm_up = count // 10
    calls = path.calls(count + warm_up)
    host = await path.open_host()
    caller = await path.open_caller()
    requester = Requester(caller, path.answers(), calls)
    await requester.run(warm_up, window)
    usage = await measure(subject.pid, lambda: requester.run(count, window))
    for connection in (caller, host):
        connection.close()
    return figures(usage, count, requester.seconds, "call")


async def run(options: Options, samples: Samples) -> None:
    """Measure both subjects in turn."""
    async with both(options) as subjects:
        for turn in range(options.rounds):
            for name, window in WINDOWS.items():
                for subject in subjects:
                    room = f"tools{turn}-{window}"
                    path = (RoomCalls if isinstance(subject, RoomServer) else RelayedCalls)(subject, room)
                    count = options.scaled(20_000 if window > 1 else 5_000, 200)
                    samples.add(subject.name, f"tool calls, {name}", await round_trips(path, subject, count, window))


if __name__ == "__main__":
    run_benchmark(run, __doc__)
