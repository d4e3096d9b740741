"""Tool calls between two ends that are fakes: what reaches which end, and what is left of a call afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from meshagent.api.contracts.agents import RegisteredTool
from meshagent.api.contracts.operation import EMPTY
from meshagent.api.errors import (
    ConnectionLostError,
    InvalidStateError,
    LimitExceededError,
    RoomException,
    UnavailableError,
)
from meshagent.server.kernel.operations import EncodedContent
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.agents.hosting import HostedToolkit, JsonArguments, ToolCall
from meshagent.server.services.agents.tool_calls import AnswerFuture, ToolCalls
from tests.support.fake_room import FakeOutbox, FakeRoom, fake_participant

TEXT = EncodedContent(b'{"type":"text","text":"hi"}')
CLOSE = EncodedContent(b'{"type":"control","method":"close"}')


class FakeHostLink:
    """A `HostLink` that keeps what it forwards; `refuses` is what it raises instead."""

    def __init__(self) -> None:
        self.log: list[tuple[str, Any]] = []
        self.refuses: RoomException | None = None
        self.last_id = 0

    def forward(self, call: ToolCall) -> int:
        if self.refuses is not None:
            raise self.refuses
        self.last_id += 1
        self.log.append(("call", call.input))
        return self.last_id

    def forward_item(self, call: ToolCall, item: EncodedContent) -> None:
        self.log.append(("item", item))

    def close_input(self, call: ToolCall, content: EncodedContent | None = None) -> None:
        self.log.append(("close", content))


class FakeCallerLink:
    """A `CallerLink` that keeps what it gets."""

    def __init__(self) -> None:
        self.log: list[tuple[str, Any]] = []

    def answer(self, content: EncodedContent) -> None:
        self.log.append(("answer", content))

    def fail(self, error: RoomException) -> None:
        self.log.append(("fail", type(error)))

    def open(self) -> None:
        self.log.append(("open", None))

    def send(self, item: EncodedContent) -> None:
        self.log.append(("send", item))

    def close(self, content: EncodedContent) -> None:
        self.log.append(("close", content))


class Calls:
    """Tool calls of one caller to one host."""

    def __init__(self, limit: int = 10) -> None:
        self.room = FakeRoom()
        self.calls = ToolCalls(self.room, max_calls_per_caller=limit)
        self.caller, self.host = fake_participant("caller"), fake_participant("host")
        self.link, self.back = FakeHostLink(), FakeCallerLink()

    def start(self, *, streams_input: bool = False, caller: Participant | None = None) -> ToolCall:
        tools = {"add": RegisteredTool()}
        toolkit = HostedToolkit(host=self.host, name="math", tools=tools, link=self.link)
        arguments = JsonArguments(b"{}", b"payload")
        return self.calls.start(
            caller or self.caller, toolkit, "add", arguments, self.back, streams_input=streams_input
        )

    def recorded(self) -> list[str | None]:
        """What was recorded of ended calls: their errors."""
        entries = [data for kind, data in self.room.recorded if kind == "tool.call"]
        assert all(data["name"] == "math.add" and data["duration"] >= 0 for data in entries)
        return [data["error"] for data in entries]


def test_an_answer_goes_to_the_caller_once() -> None:
    calls = Calls()
    call = calls.start()
    assert calls.link.log == [("call", JsonArguments(b"{}", b"payload"))]
    for _ in range(2):
        calls.calls.host_answered(calls.host, call.message_id, TEXT)
    assert calls.back.log == [("answer", TEXT)]
    assert (len(calls.calls), calls.recorded(), call.ended) == (0, [None], True)


def test_a_failure_is_recorded_in_the_hosts_words() -> None:
    calls = Calls()
    calls.calls.host_answered(calls.host, calls.start().message_id, TEXT, "division by zero")
    assert calls.recorded() == ["division by zero"]


def test_a_stream_goes_to_the_caller_until_its_close() -> None:
    calls = Calls()
    message_id = calls.start().message_id
    calls.calls.host_sent(calls.host, message_id, TEXT)
    calls.calls.host_opened(calls.host, message_id)
    calls.calls.host_sent(calls.host, message_id, TEXT)
    calls.calls.host_closed(calls.host, message_id, CLOSE)
    calls.calls.host_sent(calls.host, message_id, TEXT)
    assert calls.back.log == [("send", TEXT), ("open", None), ("send", TEXT), ("close", CLOSE)]
    assert (len(calls.calls), calls.recorded()) == (0, [None])


def test_only_the_host_of_a_call_answers_it() -> None:
    calls = Calls()
    message_id = calls.start().message_id
    for host, number in ((fake_participant("other"), message_id), (calls.host, message_id + 1)):
        calls.calls.host_answered(host, number, TEXT)
        calls.calls.host_opened(host, number)
        calls.calls.host_sent(host, number, TEXT)
        calls.calls.host_closed(host, number, CLOSE)
    assert calls.back.log == []
    assert len(calls.calls) == 1


def test_input_goes_to_the_host_until_its_close() -> None:
    calls = Calls()
    call = calls.start(streams_input=True)
    calls.calls.send_input(call, TEXT)
    calls.calls.close_input(call, CLOSE)
    assert calls.link.log[1:] == [("item", TEXT), ("close", CLOSE)]
    for late in (calls.calls.send_input, calls.calls.close_input):
        with pytest.raises(InvalidStateError, match=r"math\.add takes no more input"):
            late(call, TEXT)


def test_input_of_a_call_that_ended_is_dropped() -> None:
    calls = Calls()
    call = calls.start(streams_input=True)
    calls.calls.host_answered(calls.host, call.message_id, TEXT)
    calls.calls.send_input(call, TEXT)
    calls.calls.close_input(call, CLOSE)
    assert len(calls.link.log) == 1


def test_a_call_without_a_stream_takes_no_input() -> None:
    calls = Calls()
    with pytest.raises(InvalidStateError):
        calls.calls.send_input(calls.start(), TEXT)


def test_a_call_that_its_host_cannot_take_leaves_nothing() -> None:
    calls = Calls(limit=1)
    calls.link.refuses = UnavailableError("no streams")
    with pytest.raises(UnavailableError):
        calls.start(streams_input=True)
    assert (len(calls.calls), calls.recorded()) == (0, [])
    calls.link.refuses = None
    calls.start()


def test_calls_of_one_caller_are_bounded() -> None:
    calls = Calls(limit=2)
    first, _ = calls.start(), calls.start()
    with pytest.raises(LimitExceededError) as refused:
        calls.start()
    assert refused.value.limit == 2
    calls.start(caller=fake_participant("another"))
    calls.calls.host_answered(calls.host, first.message_id, TEXT)
    calls.start()
    assert len(calls.calls) == 3


def test_a_host_that_leaves_fails_its_calls() -> None:
    calls = Calls()
    calls.start()
    calls.start(streams_input=True)
    calls.calls.left(calls.host)
    assert calls.back.log == [("fail", ConnectionLostError)] * 2
    assert len(calls.link.log) == 2
    assert (len(calls.calls), calls.recorded()) == (0, ["host left the room before it answered math.add"] * 2)


def test_a_caller_that_leaves_closes_the_inputs_that_are_open() -> None:
    calls = Calls()
    calls.start()
    calls.start(streams_input=True)
    calls.calls.close_input(calls.start(streams_input=True), CLOSE)
    calls.link.log.clear()
    calls.calls.left(calls.caller)
    assert calls.link.log == [("close", None)]
    assert calls.back.log == []
    assert (len(calls.calls), calls.recorded()) == (0, [None] * 3)


def test_who_calls_itself_and_leaves() -> None:
    calls = Calls()
    calls.host = calls.caller
    calls.start(streams_input=True)
    calls.calls.left(calls.caller)
    assert (calls.back.log, len(calls.calls)) == ([("fail", ConnectionLostError)], 0)
    assert calls.recorded() == ["caller left the room before it answered math.add"]


def test_a_strangers_leaving_changes_nothing() -> None:
    calls = Calls()
    calls.start()
    calls.calls.left(fake_participant("stranger"))
    assert len(calls.calls) == 1


def test_ids_of_calls_differ() -> None:
    calls = Calls()
    assert calls.start().call_id != calls.start().call_id


async def test_a_future_takes_the_answer_or_the_last_content() -> None:
    answered, streamed, empty, failed = AnswerFuture(), AnswerFuture(), AnswerFuture(), AnswerFuture()
    answered.answer(TEXT)
    answered.fail(UnavailableError("late"))
    assert await answered.result == TEXT
    streamed.open()
    for item in (EncodedContent(b'{"type":"empty"}'), TEXT, EncodedContent(b'{"progress":1}')):
        streamed.send(item)
    streamed.close(CLOSE)
    assert await streamed.result == TEXT
    empty.close(CLOSE)
    assert await empty.result == EMPTY
    failed.fail(UnavailableError("gone"))
    failed.answer(TEXT)
    failed.close(CLOSE)
    with pytest.raises(UnavailableError, match="gone"):
        await failed.result


class GoneOutbox(FakeOutbox):
    """The outbox of a host that never got what came behind byte 100."""

    at = 0

    def position(self) -> int:
        self.at += 100
        return self.at

    def surely_missed(self, position: int) -> bool:
        return position > 100


def test_a_call_that_its_host_never_got_goes_to_another_one() -> None:
    calls = Calls()
    calls.host.outbox = GoneOutbox()
    calls.start()
    calls.start()
    calls.start(streams_input=True)
    live = FakeHostLink()
    other = HostedToolkit(host=fake_participant("other"), name="math", tools={"add": RegisteredTool()}, link=live)
    calls.calls.left(calls.host, lambda _: other)
    assert live.log == [("call", calls.link.log[1][1])]
    assert calls.back.log == [("fail", ConnectionLostError)] * 2, "the first was received, the third streams"
    calls.calls.host_answered(other.host, live.last_id, TEXT)
    assert calls.back.log[2:] == [("answer", TEXT)]
