"""Requests and their answers on one connection (protocol 2.6)."""

from __future__ import annotations

import asyncio
import logging
from typing import TypeVar, cast

import msgspec

from meshagent.api import jsontext
from meshagent.api.contracts.content import Body, ErrorBody
from meshagent.api.contracts.operation import EMPTY, Empty, Operation
from meshagent.api.errors import ConnectionLostError, RoomException, error_for_wire_code
from meshagent.api.transport.protocol import Protocol
from meshagent.api.wire import envelope
from meshagent.api.wire.content import unpack_body

__all__ = ["Answer", "Requests", "log_failure", "read_body", "read_result"]

log = logging.getLogger(__name__)

RequestT = TypeVar("RequestT", bound=msgspec.Struct)
ResultT = TypeVar("ResultT", bound="msgspec.Struct | Body")

Answer = asyncio.Future[bytes]
"""The data of the `__response__` message, once it has arrived."""


class _AnswerHeader(msgspec.Struct):
    """The members of an answer's header; JSON stays undecoded until its type is known."""

    type: str
    json: msgspec.Raw = msgspec.Raw(b"null")
    text: str = ""
    code: int | None = None


class Requests:
    """The requests of one client that wait for their answers."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._pending: dict[int, Answer] = {}

    async def send(self, message_type: str, data: bytes) -> bytes:
        """Send a request and return the data of its answer.

        Raises:
            ConnectionLostError: There is no connection, or it ended before the answer came.
        """
        message_id = self._protocol.next_message_id()
        answer = self._expect(message_id)
        try:
            await self._protocol.send(message_type, data, message_id)
            return await answer
        finally:
            self._forget(message_id, answer)

    def send_nowait(self, message_type: str, data: bytes) -> Answer:
        """Send a request at once and return a future of its answer.

        Raises:
            ChanClosed: There is no connection.
            ChanFull: Too many messages wait to be sent.
        """
        message_id = self._protocol.next_message_id()
        answer = self._expect(message_id)
        try:
            self._protocol.send_nowait(message_type, data, message_id)
        except BaseException:
            self._forget(message_id, answer)
            raise
        answer.add_done_callback(lambda _: self._pending.pop(message_id, None))
        return answer

    def on_response(self, protocol: Protocol, message_id: int, message_type: str, data: bytes) -> None:
        """Handler of `__response__` messages."""
        answer = self._pending.pop(message_id, None)
        if answer is None:
            log.debug("ignored the answer to request %d, which nobody waits for", message_id)
        elif not answer.done():
            answer.set_result(data)

    def fail_all(self, error: ConnectionLostError) -> None:
        """Fail all requests that wait for an answer: the connection is lost."""
        pending, self._pending = self._pending, {}
        for answer in pending.values():
            if not answer.done():
                answer.set_exception(type(error)(str(error)))

    def _expect(self, message_id: int) -> Answer:
        answer: Answer = asyncio.get_running_loop().create_future()
        self._pending[message_id] = answer
        return answer

    def _forget(self, message_id: int, answer: Answer) -> None:
        self._pending.pop(message_id, None)
        if answer.done() and not answer.cancelled():
            answer.exception()  # asyncio would log an exception that nobody retrieves


def log_failure(what: str, answer: Answer) -> None:
    """Log why a request failed whose answer nobody waits for. The message begins with `what`."""
    if answer.cancelled():
        return
    try:
        read_body(answer.result())
    except RoomException as error:
        log.warning("%s: %s", what, error)


def read_body(data: bytes) -> Body:
    """The content of an answer; an `error` content raises its error."""
    body = unpack_body(data)
    if isinstance(body, ErrorBody):
        raise error_for_wire_code(body.text, body.code)
    return body


def read_result(operation: Operation[RequestT, ResultT], data: bytes) -> ResultT:
    """The result of an operation in the data of its answer.

    Raises:
        RoomException: The room refused (the class fits its code), or the answer has an unexpected type.
    """
    text, _ = envelope.split(data)
    header = jsontext.decode(text, _AnswerHeader)
    if header.type == ErrorBody.type:
        raise error_for_wire_code(header.text, header.code)
    kind = operation.result
    if issubclass(kind, Empty):
        return cast(ResultT, EMPTY)
    if issubclass(kind, Body):
        body = unpack_body(data)
        if not isinstance(body, kind):
            raise RoomException(f"unexpected answer to {operation.name}: a {body.type!r} content")
        return body
    if header.type != "json":
        raise RoomException(f"unexpected answer to {operation.name}: a {header.type!r} content")
    return jsontext.decode(bytes(header.json), kind)
