"""A stream of the invoke dialect: its states, its end, and the bounds of its participant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshagent.api import jsontext
from meshagent.api.errors import InvalidRequestError, LimitExceededError, NotFoundError
from meshagent.server.dispatch.contents import CONTROL_CLOSE, binary_content, close_content, json_content
from meshagent.server.dispatch.invoke.stream import OpenStreams, Stream, StreamState
from meshagent.server.dispatch.invoke.stream_tasks import (
    MAX_WAITING_BYTES,
    Inbox,
    StreamHandler,
    TaskInput,
    receive_upload,
    send_download,
)
from meshagent.server.kernel.operations import EncodedContent
from tests.support.fake_caller import Answer, Event, FakeCaller

OPEN = {"type": "control", "method": "open"}
CLOSE = {"type": "control", "method": "close", "status_code": 1000}


class RecordingInput:
    """A `StreamInput` that keeps what it gets, and refuses what says so."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.items: list[Any] = []
        self.cancelled = 0

    def receive(self, item: EncodedContent) -> asyncio.Future[None] | None:
        header = jsontext.loads(item.header)
        if header.get("json") == "refuse":
            raise InvalidRequestError("not this")
        self.items.append(header)
        return None

    def cancel(self) -> None:
        self.cancelled += 1


class Streams:
    """The streams of a room, and a caller that opens them."""

    def __init__(self, limit: int = 10) -> None:
        self.caller = FakeCaller()
        self.streams = OpenStreams(limit)
        self.inputs: list[RecordingInput] = []

    def open(self, call_id: str | None = "call", caller: FakeCaller | None = None) -> Stream:
        def begin(stream: Stream) -> RecordingInput:
            self.inputs.append(RecordingInput(stream))
            return self.inputs[-1]

        self.streams.open(caller or self.caller, 7, call_id, begin)
        return self.inputs[-1].stream

    def chunks(self) -> list[Any]:
        """Chunks that the caller was sent, without the answer."""
        return [entry.chunk for entry in self.caller.take() if isinstance(entry, Event)]


def test_a_stream_is_answered_then_sends_then_closes() -> None:
    room = Streams()
    stream = room.open()
    assert room.caller.take() == []
    stream.open()
    stream.open()
    assert room.caller.take() == [Answer(7, OPEN)]
    stream.send(binary_content({"kind": "data"}, b"abc"))
    event = room.caller.take_event()
    assert (event.message_id, event.type, event.payload) == (7, "room.tool_call_response_chunk", b"abc")
    assert event.header == {"tool_call_id": "call", "chunk": {"type": "binary", "headers": {"kind": "data"}}}
    assert room.streams.find(room.caller.participant, "call") is stream
    stream.close(close_content("done"))
    assert room.caller.take_event().chunk == {**CLOSE, "message": "done"}
    assert room.streams.find(room.caller.participant, "call") is None
    assert (stream.state, stream.sent) == (StreamState.CLOSED, 2)


def test_nothing_is_sent_after_the_end() -> None:
    room = Streams()
    stream = room.open()
    stream.open()
    stream.close()
    room.caller.take()
    stream.send(json_content(1))
    stream.fail(NotFoundError("late"))
    stream.answer(json_content(2))
    stream.open()
    stream.close()
    assert stream.receive(json_content(3)) is None
    assert room.caller.take() == []
    assert room.inputs[0].items == []


@pytest.mark.parametrize("failure", [LimitExceededError("full", limit=1), OSError("disk"), BaseException("panic")])
async def test_an_item_that_was_not_stored_fails_its_stream(failure: BaseException) -> None:
    room = Streams()
    stream = room.open()
    stream.open()
    room.caller.take()
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_exception(failure)
    stream.item_stored(done)
    assert stream.state is StreamState.CLOSED
    assert room.inputs[0].cancelled == 1
    assert [chunk["type"] for chunk in room.chunks()] == ["error", "control"]


def test_a_failure_before_open_is_the_answer() -> None:
    room = Streams()
    room.open().fail(NotFoundError("gone"))
    assert isinstance(room.caller.take_answer(), NotFoundError)
    assert room.streams.count(room.caller.participant) == 0


def test_a_failure_after_open_is_a_chunk_before_the_close() -> None:
    room = Streams()
    stream = room.open()
    stream.open()
    stream.fail(NotFoundError("gone"))
    assert room.chunks() == [{"type": "error", "text": "gone", "code": 1003}, CLOSE]


def test_an_answer_is_the_end() -> None:
    room = Streams()
    room.open().answer(json_content({"a": 1}))
    assert room.caller.take() == [Answer(7, {"type": "json", "json": {"a": 1}})]
    assert room.streams.count(room.caller.participant) == 0


def test_an_answer_after_open_is_the_last_item() -> None:
    room = Streams()
    stream = room.open()
    stream.open()
    stream.answer(json_content(1))
    assert room.chunks() == [{"type": "json", "json": 1}, CLOSE]


def test_items_may_come_before_open() -> None:
    room = Streams()
    stream = room.open()
    stream.send(EncodedContent(b'{"progress":1}'))
    stream.open()
    assert [type(entry) for entry in room.caller.take()] == [Event, Answer]


def test_input_is_handed_on_and_counted() -> None:
    room = Streams()
    stream = room.open()
    for item in (json_content(1), CONTROL_CLOSE):
        assert stream.receive(item) is None
    assert (room.inputs[0].items, stream.received) == ([{"type": "json", "json": 1}, CLOSE], 2)
    assert "2 received, 0 sent" in repr(stream)


def test_input_that_is_refused_fails_the_stream_and_stops_what_serves_it() -> None:
    room = Streams()
    stream = room.open()
    stream.open()
    assert stream.receive(json_content("refuse")) is None
    assert [chunk["type"] for chunk in room.chunks()] == ["error", "control"]
    assert room.inputs[0].cancelled == 1
    assert stream.state is StreamState.CLOSED


def test_a_stream_needs_an_id_that_is_not_in_use() -> None:
    room = Streams()
    room.open()
    with pytest.raises(InvalidRequestError, match="call id 'call' is already in use"):
        room.open()
    with pytest.raises(InvalidRequestError, match="tool_call_id"):
        room.open(None)
    room.open(caller=FakeCaller("bob"))  # ids of two participants can be the same
    assert len(room.inputs) == 2


def test_a_participant_can_have_so_many_streams() -> None:
    room = Streams(limit=3)
    streams = [room.open(f"call {n}") for n in range(3)]
    with pytest.raises(LimitExceededError) as refused:
        room.open("one more")
    assert refused.value.limit == 3
    room.open("of another", FakeCaller("bob"))
    streams[0].close()
    room.open("one more")
    assert room.streams.count(room.caller.participant) == 3


def test_a_stream_that_cannot_start_is_not_registered() -> None:
    room = Streams()

    def refuse(stream: Stream) -> RecordingInput:
        raise NotFoundError("no such tool")

    with pytest.raises(NotFoundError):
        room.streams.open(room.caller, 7, "call", refuse)
    assert room.streams.count(room.caller.participant) == 0
    room.open("call")


def test_a_participant_that_leaves_cancels_its_streams_only() -> None:
    room = Streams()
    bob = FakeCaller("bob")
    stream, other = room.open(), room.open(caller=bob)
    room.streams.left(room.caller.participant)
    assert [served.cancelled for served in room.inputs] == [1, 0]
    assert (stream.state, other.state) == (StreamState.CLOSED, StreamState.INVOKED)
    assert room.caller.take() == []
    room.streams.cancel_all()
    assert [served.cancelled for served in room.inputs] == [1, 1]


@given(steps=st.lists(st.sampled_from(["open", "send", "close", "fail", "answer", "receive", "refuse"]), max_size=8))
def test_there_is_one_answer_and_one_end_whatever_happens(steps: list[str]) -> None:
    room = Streams()
    stream = room.open()
    acts: dict[str, Callable[[], object]] = {
        "open": stream.open,
        "send": lambda: stream.send(json_content(1)),
        "close": stream.close,
        "fail": lambda: stream.fail(NotFoundError("gone")),
        "answer": lambda: stream.answer(json_content(2)),
        "receive": lambda: stream.receive(json_content(3)),
        "refuse": lambda: stream.receive(json_content("refuse")),
    }
    for step in steps:
        acts[step]()
    log = room.caller.take()
    answers = [entry for entry in log if isinstance(entry, Answer)]
    ends = [entry for entry in log if isinstance(entry, Event) and entry.chunk == CLOSE]
    assert len(answers) <= 1
    assert len(ends) <= 1
    if ends:
        assert log[-1] is ends[0]
    assert (stream.state is StreamState.CLOSED) == (room.streams.count(room.caller.participant) == 0)


# --- streams that a task serves ----------------------------------------------------------------------


def serve(handler: StreamHandler) -> tuple[FakeCaller, Stream, set[asyncio.Task[None]]]:
    """A stream that `handler` serves, and its task."""
    caller, tasks = FakeCaller(), set[asyncio.Task[None]]()

    def spawn(work: Any, *, name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        tasks.add(task)
        return task

    stream = Stream(caller, 7, "call")
    stream.begin(lambda stream: TaskInput(stream, handler, spawn))
    return caller, stream, tasks


class Echo:
    """Sends back what it gets, and fails when it is told to."""

    async def serve(self, stream: Stream, inbox: Inbox) -> None:
        while not (item := await inbox.next()).is_close:
            if item.headers.get("fail"):
                raise NotFoundError("as you wish") if item.headers["fail"] == "kindly" else KeyError("x")
            stream.send(json_content(item.headers))


async def test_a_handler_serves_the_items_in_order() -> None:
    caller, stream, tasks = serve(Echo())
    for n in range(3):
        stream.receive(json_content({"n": n}))
    stream.receive(CONTROL_CLOSE)
    await asyncio.gather(*tasks)
    assert caller.sent_log[0] == Answer(7, OPEN)
    chunks = [entry.chunk for entry in caller.take() if isinstance(entry, Event)]
    assert chunks == [*({"type": "json", "json": {"n": n}} for n in range(3)), CLOSE]


@pytest.mark.parametrize(("how", "code"), [("kindly", 1003), ("badly", 1008)])
async def test_a_handler_that_fails_says_so_and_closes(how: str, code: int) -> None:
    caller, stream, tasks = serve(Echo())
    stream.receive(json_content({"fail": how}))
    await asyncio.gather(*tasks)
    _, error, close = caller.take()
    assert isinstance(error, Event)
    assert isinstance(close, Event)
    assert (error.chunk["code"], close.chunk) == (code, CLOSE)


class Sleeper:
    """Never looks at its input."""

    async def serve(self, stream: Stream, inbox: Inbox) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize("item", [json_content(None), binary_content({}, b"x" * 100_000)])
async def test_input_that_nobody_asked_for_is_bounded(item: EncodedContent) -> None:
    caller, stream, tasks = serve(Sleeper())
    for _ in range(MAX_WAITING_BYTES // 512 + 2):
        stream.receive(item)
    assert stream.state is StreamState.CLOSED
    error = caller.take()[1]
    assert isinstance(error, Event)
    assert "without being asked" in error.chunk["text"]
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)


async def test_a_caller_that_leaves_stops_the_task() -> None:
    caller, stream, tasks = serve(Sleeper())
    stream.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)
    assert caller.take() == [Answer(7, OPEN)]


class FakeUpload:
    """Keeps what was done with it."""

    def __init__(self) -> None:
        self.data = b""
        self.done: list[str] = []

    async def write(self, data: bytes) -> None:
        self.data += data

    async def finish(self) -> None:
        self.done.append("finish")

    async def discard(self) -> None:
        self.done.append("discard")


class UploadHandler:
    def __init__(self, size: int | None) -> None:
        self.size = size
        self.upload = FakeUpload()

    async def serve(self, stream: Stream, inbox: Inbox) -> None:
        await receive_upload(stream, inbox, self.upload, size=self.size)


@pytest.mark.parametrize(
    ("size", "done"), [(6, ["finish", "discard"]), (None, ["finish", "discard"]), (7, ["discard"])]
)
async def test_an_upload_is_finished_only_if_all_of_it_came(size: int | None, done: list[str]) -> None:
    handler = UploadHandler(size)
    _, stream, tasks = serve(handler)
    for piece in (b"abc", b"def"):
        stream.receive(binary_content({"kind": "data"}, piece))
    stream.receive(CONTROL_CLOSE)
    await asyncio.gather(*tasks)
    assert (handler.upload.data, handler.upload.done) == (b"abcdef", done)


async def test_an_upload_whose_caller_leaves_is_discarded() -> None:
    handler = UploadHandler(None)
    _, stream, tasks = serve(handler)
    stream.receive(binary_content({"kind": "data"}, b"half"))
    await asyncio.sleep(0)
    stream.cancel()
    await asyncio.wait(tasks)
    assert handler.upload.done == ["discard"]


class DownloadHandler:
    def __init__(self, *, close_is_pulled: bool) -> None:
        self.close_is_pulled = close_is_pulled

    async def serve(self, stream: Stream, inbox: Inbox) -> None:
        async def pieces() -> Any:
            for n in range(2):
                yield json_content(n)

        await send_download(stream, inbox, pieces(), close_is_pulled=self.close_is_pulled)


@pytest.mark.parametrize(("close_is_pulled", "pulls"), [(False, 2), (True, 3)])
async def test_each_pull_is_one_piece(close_is_pulled: bool, pulls: int) -> None:
    caller, stream, tasks = serve(DownloadHandler(close_is_pulled=close_is_pulled))
    for _ in range(pulls):
        assert stream.state is StreamState.OPEN
        stream.receive(binary_content({"kind": "pull"}))
        for _ in range(5):
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    chunks = [entry.chunk for entry in caller.take() if isinstance(entry, Event)]
    assert chunks == [{"type": "json", "json": 0}, {"type": "json", "json": 1}, CLOSE]


async def test_a_download_stops_at_the_clients_close() -> None:
    caller, stream, tasks = serve(DownloadHandler(close_is_pulled=True))
    stream.receive(CONTROL_CLOSE)
    await asyncio.gather(*tasks)
    assert [entry.chunk for entry in caller.take() if isinstance(entry, Event)] == [CLOSE]


async def test_a_start_says_what_the_stream_is_about() -> None:
    inbox = Inbox()
    inbox.put(CONTROL_CLOSE)
    with pytest.raises(InvalidRequestError, match="closed before it started"):
        await inbox.start(dict)
    inbox.put(json_content([1]))
    with pytest.raises(InvalidRequestError, match="expected `object`"):
        await inbox.start(dict)
