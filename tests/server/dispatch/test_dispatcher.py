"""The dispatcher: every request gets exactly one answer, a message without an answer never gets one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshagent.api.contracts.operation import EMPTY, Empty, Operation
from meshagent.api.errors import InternalError, InvalidRequestError, NotFoundError, PermissionDeniedError
from meshagent.api.tokens.grants import AgentsGrant
from meshagent.api.tokens.scope import ApiScope
from meshagent.api.wire.packets import Message
from meshagent.server.kernel.dispatcher import Caller, Dispatcher, OperationTable
from meshagent.server.kernel.operations import AnswerWithFollowUp, serve, serve_payload
from meshagent.server.kernel.participant import Participant
from tests.support.fake_caller import Answer, FakeCaller


class AddRequest(msgspec.Struct, frozen=True, kw_only=True):
    a: int
    b: int = 1


class AddResult(msgspec.Struct, frozen=True, kw_only=True):
    sum: int


ADD = Operation("math.add", AddRequest, AddResult)
SIZE = Operation("math.size", Empty, AddResult)
LATER = Operation("math.later", AddRequest, AddResult)
BREAK = Operation("math.break", Empty, Empty)
REFUSE = Operation("math.refuse", Empty, Empty)
PANIC = Operation("math.panic", Empty, Empty)


class Panic(BaseException):
    """As libraries in Rust raise it: no Exception."""


def add(caller: Participant, request: AddRequest) -> AddResult:
    return AddResult(sum=request.a + request.b)


async def add_later(caller: Participant, request: AddRequest) -> AddResult:
    await asyncio.sleep(0)
    return add(caller, request)


def fail_with(error: BaseException) -> Callable[..., Any]:
    def handler(*_: object) -> Any:
        raise error

    return handler


class Room:
    """A dispatcher over a few operations, and a caller."""

    def __init__(self, scope: ApiScope | None = None) -> None:
        self.one_way: list[Message] = []
        self.failures: list[tuple[str, str]] = []
        operations = OperationTable(
            [
                serve(ADD, add, grant=lambda scope, request: scope.require_agents("use_tools")),
                serve_payload(SIZE, lambda _, __, payload: AddResult(sum=len(payload)), grant=None),
                serve(LATER, add_later, grant=None),
                serve(BREAK, fail_with(KeyError("secret detail")), grant=None),
                serve(PANIC, fail_with(Panic("secret detail")), grant=None),
                serve(REFUSE, fail_with(NotFoundError("there is no such thing")), grant=None),
            ]
        )
        self.dispatcher = Dispatcher(
            operations,
            {
                "one.way": lambda _, message: self.one_way.append(message),
                "one.way.refused": fail_with(InvalidRequestError("not like this")),
                "one.way.broken": fail_with(KeyError("x")),
            },
            {
                "request.ok": lambda caller, message: caller.answer(message.id, EMPTY),
                "request.refused": fail_with(NotFoundError("gone")),
                "request.broken": fail_with(KeyError("x")),
            },
            lambda participant, message_type, error: self.failures.append((message_type, type(error).__name__)),
        )
        self.caller = FakeCaller() if scope is None else FakeCaller(scope=scope)

    def ask(self, message_type: str, header: Any = None, payload: bytes = b"") -> Any:
        self.caller.send(self.dispatcher, message_type, header or {}, payload)
        return self.caller.take_answer()


def test_a_caller_is_a_caller() -> None:
    caller: Caller = FakeCaller()
    assert caller.participant.name == "alice"


def test_a_request_is_decoded_and_answered() -> None:
    assert Room().ask("math.add", {"a": 2, "b": None, "unknown": True}) == AddResult(sum=3)
    assert Room().ask("math.size", {}, b"four") == AddResult(sum=4)


def test_a_panic_of_a_library_is_answered_and_does_not_reach_the_connection() -> None:
    room = Room()
    answer = room.ask("math.panic")
    assert isinstance(answer, InternalError)
    assert "secret detail" not in str(answer)
    assert room.failures == [("math.panic", "Panic")]


async def test_what_takes_time_is_answered_when_it_is_done() -> None:
    room = Room()
    room.caller.send(room.dispatcher, "math.later", {"a": 1})
    assert room.caller.take() == []
    assert await room.caller.next_answer() == AddResult(sum=2)


@pytest.mark.parametrize("header", [{}, {"a": "two"}, {"a": None}])
def test_a_request_that_does_not_decode_is_refused(header: dict[str, Any]) -> None:
    room = Room()
    assert isinstance(room.ask("math.add", header), InvalidRequestError)
    assert room.failures == []


@given(data=st.binary(max_size=40))
def test_any_bytes_get_exactly_one_answer(data: bytes) -> None:
    room = Room()
    for message_type in ("math.add", "request.ok", "unknown"):
        room.dispatcher.dispatch(room.caller, Message(5, message_type, data))
        [answer] = room.caller.take()
        assert isinstance(answer, Answer)
        assert answer.message_id == 5


def test_the_grant_is_checked_after_decoding_and_before_the_handler() -> None:
    nobody = Room(ApiScope())
    assert isinstance(nobody.ask("math.add", {"a": 1}), PermissionDeniedError)
    assert isinstance(nobody.ask("math.add", {}), InvalidRequestError)
    allowed = Room(ApiScope(agents=AgentsGrant(use_tools=True)))
    assert allowed.ask("math.add", {"a": 1}) == AddResult(sum=2)


def test_a_refusal_is_the_answer() -> None:
    for message_type in ("math.refuse", "request.refused"):
        assert isinstance(Room().ask(message_type), NotFoundError)
    assert "unknown request 'math.unknown'" in str(Room().ask("math.unknown"))


def test_a_fault_of_the_server_is_logged_and_answered_without_its_details(caplog: pytest.LogCaptureFixture) -> None:
    for message_type in ("math.break", "request.broken"):
        room = Room()
        answer = room.ask(message_type)
        assert isinstance(answer, InternalError)
        assert "secret" not in str(answer)
        assert room.failures == [(message_type, "KeyError")]
    assert "secret detail" in caplog.text


def test_messages_without_an_answer_never_get_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    room = Room()
    for message_type in ("one.way", "one.way.refused", "one.way.broken"):
        room.caller.send(room.dispatcher, message_type, {"n": 1})
    assert room.caller.take() == []
    assert [message.type for message in room.one_way] == ["one.way"]
    assert "ignored one.way.refused" in caplog.text
    assert room.failures == [("one.way.broken", "KeyError")]


def test_operations_are_found_by_name() -> None:
    operations = Room().dispatcher.operations
    served = operations.find("math.add")
    assert served is not None
    assert served.operation is ADD
    assert operations.find("math.unknown") is None


def test_an_answer_with_a_follow_up_reaches_the_caller_whole() -> None:
    follow_up = AnswerWithFollowUp(EMPTY, lambda: None)
    table = OperationTable([serve(BREAK, lambda _, __: follow_up, grant=None)])
    caller = FakeCaller()
    caller.send(Dispatcher(table, {}), "math.break", {})
    assert caller.take_answer() is follow_up  # the connection sends both; see the tests of connections
