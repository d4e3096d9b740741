"""What one call costs in the dialect of today's clients beside the flat one, on the same server.

    python -m benchmarks.dialects [--quick] [--rounds N] [-- server flags]

There is no yardstick here: the flat dialect is what the invoke dialect is compared with, and stands in its column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.load import Connection, FrameReader
from benchmarks.requests import Requester, RoomAnswers, figures, room_request
from benchmarks.running import run_benchmark
from benchmarks.subjects import RoomServer, Session, Subject, both, message_frames
from benchmarks.support import SERVER, YARDSTICK, Options, Samples, measure
from benchmarks.tools import RoomCalls, answer_with
from meshagent.api.wire import envelope
from meshagent.api.wire.packets import Reassembler

WINDOW = 32
PATH = "no/such/file.txt"


def flat_exists(count: int) -> Sequence[bytes]:
    """Requests for `storage.exists` in the flat dialect."""
    return [room_request(number, "storage.exists", {"path": PATH}) for number in range(count)]


def invoke_exists(count: int) -> Sequence[bytes]:
    """The same in the invoke dialect."""
    return [room_request(number, "room.invoke_tool", _invocation("storage", "exists", PATH)) for number in range(count)]


def _invocation(toolkit: str, tool: str, text: str) -> dict[str, object]:
    key = "path" if toolkit == "storage" else "text"
    return {
        "toolkit": toolkit,
        "tool": tool,
        "arguments": {"type": "json", "json": {key: text}},
        "tool_call_id": "0f2d5f0c-3f0e-4c8e-9d55-2f4d5a6b7c8d",
        "participant_id": None,
        "on_behalf_of_id": None,
    }


class InvokeCalls(RoomCalls):
    """`room.invoke_tool`, and a toolkit that a participant registered by `room.register_toolkit`."""

    async def open_host(self) -> Connection:
        host = Session(await self._join("host"))
        spec = {"types": ["json"], "stream": False, "schema": {"type": "object"}}
        tool = {"title": "Echo", "description": "says what it hears", "input_spec": spec}
        toolkit = {"name": "bench", "title": "", "description": "", "public": True, "tools": {"echo": tool}}
        await host.request("room.register_toolkit", toolkit)
        answer_with(host.connection, _invoke_answerer())
        return host.connection

    def calls(self, count: int) -> Sequence[bytes]:
        call = _invocation("bench", "echo", "x" * 100)
        return [room_request(number, "room.invoke_tool", call) for number in range(count)]


def _invoke_answerer() -> Callable[[bytes], list[bytes]]:
    frames, messages = FrameReader(), Reassembler()
    result = envelope.pack({"type": "json", "json": {"text": "x" * 100}})

    def answer(data: bytes) -> list[bytes]:
        calls = (messages.receive(payload) for payload in frames.feed(data))
        return [
            message_frames(call.id, "room.tool_call_response", result)
            for call in calls
            if call is not None and call.type == "room.tool_call.bench"
        ]

    return answer


async def measured(subject: Subject, caller: Connection, requests: Sequence[bytes], count: int) -> dict[str, float]:
    """Requests with `WINDOW` of them on the way, after a warm-up with the first tenth."""
    requester = Requester(caller, RoomAnswers(), requests)
    await requester.run(len(requests) - count, WINDOW)
    usage = await measure(subject.pid, lambda: requester.run(count, WINDOW))
    return figures(usage, count, requester.seconds, "call")


async def exists(subject: Subject, room: str, requests: Sequence[bytes], count: int) -> dict[str, float]:
    """Calls that the room answers itself."""
    caller = await subject.join(room, subject.token(room, "caller"))
    result = await measured(subject, caller, requests, count)
    caller.close()
    return result


async def hosted(path: RoomCalls, subject: Subject, count: int) -> dict[str, float]:
    """Calls that another participant answers."""
    host = await path.open_host()
    caller = await path.open_caller()
    result = await measured(subject, caller, path.calls(count + count // 10), count)
    for connection in (caller, host):
        connection.close()
    return result


async def run(options: Options, samples: Samples) -> None:
    """Measure both dialects in turn: invoke as the server, flat as what it is compared with."""
    async with both(options) as subjects:
        (subject,) = [one for one in subjects if isinstance(one, RoomServer)]
        for turn in range(options.rounds):
            count = options.scaled(20_000, 200)
            for column, make, path in (
                (YARDSTICK, flat_exists, RoomCalls),
                (SERVER, invoke_exists, InvokeCalls),
            ):
                room = f"dialects{turn}-{column}"
                found = await exists(subject, room, make(count + count // 10), count)
                samples.add(column, "storage.exists, invoke beside flat", found)
                called = await hosted(path(subject, f"{room}-hosted"), subject, count)
                samples.add(column, "tool calls, invoke beside flat", called)


if __name__ == "__main__":
    run_benchmark(run, __doc__)
