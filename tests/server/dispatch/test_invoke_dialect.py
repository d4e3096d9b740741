"""Tool calls through the dialects, without sockets: down to the host once, and back to the caller once."""

from __future__ import annotations

from typing import Any

import pytest

from meshagent.api.errors import (
    ConnectionLostError,
    InvalidRequestError,
    LimitExceededError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.dispatch.invoke.stream import MAX_STREAMS_PER_PARTICIPANT
from tests.support.agents_room import SCHEMA, TOOLKIT, AgentsRoom
from tests.support.fake_caller import Answer, Event, FakeCaller
from tests.support.fake_room import PublishedEvent

OPEN = {"type": "control", "method": "open"}
CLOSE = {"type": "control", "method": "close", "status_code": 1000}


class Call:
    """A room with a host of `tools` in the invoke dialect, and a caller."""

    def __init__(self) -> None:
        self.agents = AgentsRoom()
        self.host = self.agents.join("host", role="agent")
        self.caller = self.agents.join("caller")
        self.agents.ask(self.host, "room.register_toolkit", TOOLKIT)

    def invoke(self, tool: str, arguments: Any, payload: bytes = b"", **more: Any) -> PublishedEvent:
        """Start a call; what the host gets."""
        header = {"toolkit": "tools", "tool": tool, "arguments": arguments, "tool_call_id": "mine", **more}
        self.agents.send(self.caller, "room.invoke_tool", header, payload, message_id=7)
        [event] = self.agents.room.take_events()
        return event

    def chunk(self, chunk: Any, payload: bytes = b"") -> list[PublishedEvent]:
        """One item of the input, which is acknowledged with nothing; what the host gets."""
        header = {"tool_call_id": "mine", "chunk": chunk}
        self.agents.send(self.caller, "room.tool_call_request_chunk", header, payload, message_id=8)
        acknowledgement = self.caller.sent_log.pop()
        assert acknowledgement == Answer(8, None)
        return self.agents.room.take_events()

    def host_answers(self, content: Any, payload: bytes = b"", message_id: int = 1) -> None:
        self.agents.send(self.host, "room.tool_call_response", content, payload, message_id)

    def host_sends(self, chunk: Any, payload: bytes = b"", message_id: int = 1) -> None:
        header = {"tool_call_id": "the host's", "chunk": chunk}
        self.agents.send(self.host, "room.tool_call_response_chunk", header, payload, message_id)

    def chunks(self) -> list[Any]:
        return [entry.chunk for entry in self.caller.take() if isinstance(entry, Event)]


def test_a_unary_call() -> None:
    call = Call()
    forwarded = call.invoke("add", {"type": "json", "json": {"a": 1}}, b"extra")
    assert (forwarded.message_type, forwarded.payload, forwarded.to) == ("room.tool_call.tools", b"extra", ("host-id",))
    call_id = forwarded.header["tool_call_id"]
    assert forwarded.header == {
        "name": "add",
        "arguments": {"type": "json", "json": {"a": 1}},
        "caller_id": "caller-id",
        "tool_call_id": call_id,
        "on_behalf_of_id": None,
    }
    assert call_id != "mine"  # ids of two callers can be the same
    call.host_answers({"type": "file", "name": "a", "mime_type": "b", "__meshagent__": {"v": 1}}, b"data")
    assert call.caller.take() == [Answer(7, ({"type": "file", "name": "a", "mime_type": "b"}, b"data"))]
    call.host_answers({"type": "empty"})
    assert call.caller.take() == []
    assert len(call.agents.calls) == 0
    assert call.host.take() == []  # what hosts answer gets no answer


def test_both_sides_stream() -> None:
    call = Call()
    assert call.invoke("count", OPEN).header["arguments"] == OPEN
    [item] = call.chunk({"type": "binary", "headers": {}}, b"in")
    assert (item.message_type, item.payload) == ("room.tool_call_request_chunk.tools", b"in")
    assert item.header["chunk"] == {"type": "binary", "headers": {}}
    call.host_answers(OPEN)
    assert call.caller.take() == [Answer(7, OPEN)]
    call.host_sends({"type": "text", "text": "out"}, b"p")
    event = call.caller.take_event()
    assert (event.header, event.payload) == ({"tool_call_id": "mine", "chunk": {"type": "text", "text": "out"}}, b"p")
    close = {**CLOSE, "status_code": 1007, "message": "why"}
    [closed] = call.chunk(close)
    assert closed.header["chunk"] == close
    call.host_sends(CLOSE)
    assert call.chunks() == [CLOSE]
    assert call.chunk({"type": "text", "text": "late"}) == []
    assert len(call.agents.calls) == 0


def test_one_input_and_a_stream_of_output() -> None:
    call = Call()
    call.invoke("count", {"type": "empty"})
    call.host_sends({"progress": 1})
    call.host_answers(OPEN)
    call.host_sends(CLOSE)
    progress, answer, close = call.caller.take()
    assert isinstance(progress, Event)
    assert isinstance(close, Event)
    assert (progress.chunk, answer, close.chunk) == ({"progress": 1}, Answer(7, OPEN), CLOSE)


def test_input_after_its_close_fails_the_stream() -> None:
    call = Call()
    call.invoke("count", OPEN)
    call.chunk(CLOSE)
    assert call.chunk({"type": "empty"}) == []
    [answer] = call.caller.take()
    assert isinstance(answer, Answer)
    assert "takes no more input" in str(answer.result)


def test_a_host_that_leaves_fails_its_calls() -> None:
    call = Call()
    call.invoke("count", OPEN)
    call.host_answers(OPEN)
    call.caller.take()
    call.invoke("add", {"type": "empty"}, tool_call_id=None)
    call.agents.leave(call.host)
    error, close, answer = call.caller.take()
    assert isinstance(error, Event)
    assert error.chunk["text"] == "host left the room before it answered tools.count"
    assert isinstance(close, Event)
    assert close.chunk == CLOSE
    assert isinstance(answer, Answer)
    assert isinstance(answer.result, ConnectionLostError)
    assert len(call.agents.calls) == 0


def test_a_caller_that_leaves_closes_the_input_of_its_host_once() -> None:
    call = Call()
    call.invoke("count", OPEN)
    call.agents.leave(call.caller)
    [closed] = call.agents.room.take_events()
    assert (closed.message_type, closed.header["chunk"]) == ("room.tool_call_request_chunk.tools", CLOSE)
    call.host_sends({"type": "empty"})
    call.host_answers({"type": "empty"})
    assert call.caller.take() == []


def test_a_host_answers_its_own_calls_only() -> None:
    call = Call()
    call.invoke("add", {"type": "empty"})
    other = call.agents.join("other")
    call.agents.send(other, "room.tool_call_response", {"type": "text", "text": "mine"}, message_id=1)
    assert call.caller.take() == []


def test_streams_of_a_participant_are_bounded() -> None:
    call = Call()
    for n in range(MAX_STREAMS_PER_PARTICIPANT):
        call.invoke("count", OPEN, tool_call_id=f"call {n}")
    header = {"toolkit": "tools", "tool": "count", "arguments": OPEN, "tool_call_id": "one more"}
    assert isinstance(call.agents.ask(call.caller, "room.invoke_tool", header), LimitExceededError)
    assert call.agents.room.take_events() == []
    other = call.agents.join("other")
    call.agents.send(other, "room.invoke_tool", header)
    assert other.take() == []


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"toolkit": "nowhere"}, NotFoundError),
        ({"tool": "nothing"}, NotFoundError),
        ({"toolkit": "messaging", "tool": "nothing"}, NotFoundError),
        ({"toolkit": "messaging", "tool": "stream"}, InvalidRequestError),
        ({"toolkit": "containers"}, UnavailableError),
        ({"arguments": 5}, InvalidRequestError),
        ({"arguments": OPEN, "tool_call_id": None}, InvalidRequestError),
        ({"on_behalf_of_id": "nobody"}, NotFoundError),
        ({"on_behalf_of_id": "host-id"}, PermissionDeniedError),
        ({"participant_id": "caller-id", "toolkit": "messaging"}, NotFoundError),
    ],
)
async def test_calls_that_are_refused(change: dict[str, Any], error: type[Exception]) -> None:
    call = Call()
    header = {"toolkit": "tools", "tool": "add", "arguments": {"type": "empty"}, "tool_call_id": "mine", **change}
    call.agents.send(call.caller, "room.invoke_tool", header)
    assert isinstance(await call.caller.next_answer(), error)
    assert call.agents.room.take_events() == []
    assert len(call.agents.calls) == 0


def test_what_the_room_lacks_has_the_number_of_a_missing_part() -> None:
    call = Call()
    header = {"toolkit": "messaging", "tool": "teleport", "arguments": {"type": "empty"}}
    assert call.agents.ask(call.caller, "room.invoke_tool", header).wire_code == 1007


def test_every_message_of_the_dialect_needs_its_grant() -> None:
    call = Call()
    nobody = call.agents.join("nobody", scope=ApiScope())
    for message_type, header in [
        ("room.invoke_tool", {"toolkit": "tools", "tool": "add"}),
        ("room.invoke_tool", {"toolkit": "messaging", "tool": "stream", "arguments": OPEN, "tool_call_id": "x"}),
        ("room.list_toolkits", {}),
        ("room.register_toolkit", {"name": "mine", "public": True}),
        ("room.register_toolkit", {"name": "mine"}),
        ("room.call", {"name": "x", "url": "http://127.0.0.1/"}),
    ]:
        assert isinstance(call.agents.ask(nobody, message_type, header), PermissionDeniedError)


# --- between the dialects ----------------------------------------------------------------------------


FLAT_TOOLKIT = {"name": "flat", "public": True, "tools": {"add": {"input_schema": SCHEMA}, "raw": {}}}


def flat_call(agents: AgentsRoom, caller: FakeCaller, toolkit: str, tool: str, arguments: Any) -> PublishedEvent:
    """A call in the flat dialect; what the host gets."""
    agents.send(caller, "agent.invoke_tool", {"toolkit": toolkit, "tool": tool, "arguments": arguments})
    [event] = agents.room.take_events()
    return event


@pytest.mark.parametrize(("tool", "arguments"), [("add", {"a": 1}), ("raw", {"type": "text", "text": "hi"})])
async def test_a_flat_caller_and_a_flat_host(tool: str, arguments: Any) -> None:
    agents = AgentsRoom()
    host, caller = agents.join("host"), agents.join("caller")
    agents.ask(host, "agent.register_toolkit", FLAT_TOOLKIT)
    forwarded = flat_call(agents, caller, "flat", tool, arguments)
    assert (forwarded.message_type, forwarded.header["arguments"]) == ("agent.tool_call.flat", arguments)
    agents.send(host, "agent.tool_call_response", {"type": "text", "text": "done"})
    assert await caller.next_answer() == {"type": "text", "text": "done"}


async def test_a_flat_caller_gets_the_last_content_of_a_stream() -> None:
    call = Call()
    forwarded = flat_call(call.agents, call.caller, "tools", "add", {"a": 1})
    assert forwarded.header["arguments"] == {"type": "json", "json": {"a": 1}}
    call.host_answers(OPEN)
    for item in ({"type": "text", "text": "first"}, {"type": "text", "text": "last"}, {"progress": 1}, CLOSE):
        call.host_sends(item)
    assert await call.caller.next_answer() == {"type": "text", "text": "last"}


def test_an_invoke_caller_and_a_flat_host() -> None:
    agents = AgentsRoom()
    host, caller = agents.join("host"), agents.join("caller")
    agents.ask(host, "agent.register_toolkit", FLAT_TOOLKIT)
    header = {"toolkit": "flat", "tool": "add", "arguments": {"type": "json", "json": {"a": 2}}, "tool_call_id": "x"}
    agents.send(caller, "room.invoke_tool", header)
    [forwarded] = agents.room.take_events()
    assert (forwarded.message_type, forwarded.header["arguments"]) == ("agent.tool_call.flat", {"a": 2})
    agents.send(host, "agent.tool_call_response", {"type": "error", "text": "no"})
    assert caller.take_answer() == {"type": "error", "text": "no"}
    assert [data["error"] for kind, data in agents.room.recorded if kind == "tool.call"] == ["no"]

    agents.send(caller, "room.invoke_tool", {**header, "tool": "raw"})
    [forwarded] = agents.room.take_events()
    assert forwarded.header["arguments"] == {"type": "json", "json": {"a": 2}}
    assert isinstance(agents.ask(caller, "room.invoke_tool", {**header, "arguments": OPEN}), UnavailableError)
    text = {"type": "text", "text": "no JSON"}
    assert isinstance(agents.ask(caller, "room.invoke_tool", {**header, "arguments": text}), InvalidRequestError)


# --- streams between participants --------------------------------------------------------------------


class MessageCall:
    """Alice has opened a stream to Bob."""

    def __init__(self) -> None:
        self.agents = AgentsRoom()
        self.alice, self.bob = self.agents.join("alice"), self.agents.join("bob")
        header = {"toolkit": "messaging", "tool": "stream", "arguments": OPEN, "tool_call_id": "s"}
        self.agents.send(self.alice, "room.invoke_tool", header, message_id=7)
        self.first = {"to_participant_id": "bob-id", "type": "voice", "message_json": "{}", "attachment_base64": None}

    def chunk(self, content: Any) -> list[PublishedEvent]:
        header = {"tool_call_id": "s", "chunk": content}
        self.agents.send(self.alice, "room.tool_call_request_chunk", header, message_id=8)
        return self.agents.room.take_events()

    def connect(self) -> str:
        """Bob is asked; the id of the stream."""
        call, opening = self.chunk({"type": "json", "json": self.first})
        assert (call.message_type, call.to, call.header["name"]) == ("room.tool_call.messaging", ("bob-id",), "stream")
        assert opening.header["chunk"]["json"]["from_participant_id"] == "alice-id"
        self.alice.take()
        return str(call.header["tool_call_id"])

    def bob_answers(self, content: Any) -> None:
        self.agents.send(self.bob, "room.tool_call_response", content, message_id=1)


def test_the_target_accepts_before_anything_of_it_is_forwarded() -> None:
    call = MessageCall()
    stream_id = call.connect()
    call.bob_answers(OPEN)
    header = {"tool_call_id": stream_id, "chunk": {"type": "json", "json": {"kind": "message"}}}
    call.agents.send(call.bob, "room.tool_call_response_chunk", header, message_id=1)
    answer, accepted, item = call.alice.take()
    assert answer == Answer(7, OPEN)
    assert isinstance(accepted, Event)
    assert accepted.chunk["json"] == {"kind": "accepted", "stream_id": stream_id}
    assert isinstance(item, Event)
    assert item.chunk["json"] == {"kind": "message"}
    [further] = call.chunk({"type": "json", "json": {"type": "t"}})
    assert further.header["chunk"]["json"] == {"type": "t"}


def test_a_refusal_is_passed_on() -> None:
    call = MessageCall()
    call.connect()
    call.bob_answers({"type": "error", "text": "no thanks"})
    assert call.alice.take() == [Answer(7, {"type": "error", "text": "no thanks"})]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"type": "json", "json": {"to_participant_id": "nobody", "type": "t"}}, "the participant was not found"),
        ({"type": "text", "text": "hi"}, "must begin with a json chunk"),
        ({"type": "json", "json": {"type": "t"}}, "to_participant_id"),
    ],
)
def test_a_stream_to_nobody_is_refused(content: Any, text: str) -> None:
    call = MessageCall()
    assert call.chunk(content) == []
    refusal, acknowledgement = call.alice.take()
    assert isinstance(refusal, Answer)
    assert text in str(refusal.result)
    assert acknowledgement == Answer(8, None)


def test_a_target_that_leaves() -> None:
    before, after = MessageCall(), MessageCall()
    before.connect()
    before.agents.leave(before.bob)
    assert isinstance(before.alice.take_answer(), ConnectionLostError)
    after.connect()
    after.bob_answers(OPEN)
    after.alice.take()
    after.agents.leave(after.bob)
    gone, close = after.alice.take()
    assert isinstance(gone, Event)
    assert isinstance(close, Event)
    assert gone.chunk["json"] == {"kind": "client_disconnected", "participant_id": "bob-id"}
    assert close.chunk == CLOSE
