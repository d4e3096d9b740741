"""The dispatcher of a room, and the table of operations that the messages of every dialect end at.

Decoding, the grant check, answers and failures are here once, for all dialects. The type of a message decides its
dialect, never the connection: one client may use several.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from meshagent.api import jsontext
from meshagent.api.errors import InternalError, InvalidRequestError, RoomException
from meshagent.api.tokens.scope import FULL_ROOM_SCOPE
from meshagent.api.wire import envelope
from meshagent.api.wire.packets import Message
from meshagent.server.kernel.json_cost import MAX_LENIENT_VALUES, check_request, check_strict
from meshagent.server.kernel.operations import ServedOperation
from meshagent.server.kernel.participant import Participant
from meshagent.server.kernel.running_operation import RUNNING

log = logging.getLogger(__name__)

_ENDS_THE_PROGRAM = (KeyboardInterrupt, SystemExit, GeneratorExit)

OneWayHandler = Callable[[Participant, Message], None]
"""Takes a message that gets no answer; what it raises is logged."""


class Caller(Protocol):
    """The connection that a message came in by."""

    participant: Participant

    def answer(self, message_id: int, result: object) -> None:
        """Send the answer to a request: a value, an `AnswerWithFollowUp`, or a `StreamedFile`."""
        ...

    def fail(self, message_id: int, error: RoomException) -> None:
        """Answer a request with a failure."""
        ...

    def answer_when_done(self, message_id: int, result: Any, size: int) -> None:
        """Answer when an awaitable has finished; `size` is how many bytes the request holds meanwhile."""
        ...


RequestHandler = Callable[[Caller, Message], None]
"""Takes a request that is no operation's name, and answers it itself; what it raises becomes the answer."""


class OperationTable:
    """The operations of one room. Dialects and the dispatcher share it; it is built before both.

    Args:
        served: The operations of all services.
    """

    def __init__(self, served: Iterable[ServedOperation]) -> None:
        self.by_name: Mapping[str, ServedOperation] = {entry.operation.name: entry for entry in served}

    def find(self, operation: str) -> ServedOperation | None:
        """The operation of that name; None if the room does not serve it."""
        return self.by_name.get(operation)

    def run(self, caller: Caller, message_id: int, entry: ServedOperation, text: bytes, payload: bytes) -> None:
        """Run one operation for a caller: decode, check the grant, serve, answer.

        Raises:
            RoomException: The request is wrong or refused; the caller of this method answers it.
        """
        RUNNING.name = entry.operation.name
        if len(text) > MAX_LENIENT_VALUES:
            check_request(text, entry.operation.request)
        request = jsontext.decode(text, entry.operation.request)
        participant = caller.participant
        if entry.grant is not None and participant.scope is not FULL_ROOM_SCOPE:
            entry.grant(participant.scope, request)
        result = entry.handler(participant, request, payload)
        if asyncio.isfuture(result) or asyncio.iscoroutine(result):
            caller.answer_when_done(message_id, result, len(text) + len(payload))
        else:
            caller.answer(message_id, result)


class Dispatcher:
    """Routes the messages of one room's connections to its services.

    Args:
        operations: The operations; the name of each is also its message type in the flat dialect.
        one_way_handlers: Handlers of messages that get no answer, by type. An answer to one of these could complete
            an unrelated request of the client, so they never get one (protocol 2.7).
        request_handlers: Handlers of all other requests, by type.
        failed: Told of failures that are the server's own fault.
    """

    def __init__(
        self,
        operations: OperationTable,
        one_way_handlers: Mapping[str, OneWayHandler],
        request_handlers: Mapping[str, RequestHandler] | None = None,
        failed: Callable[[Participant, str, BaseException], None] | None = None,
    ) -> None:
        self.operations = operations
        self._served = operations.by_name
        self._run = operations.run
        self._one_way_handlers = dict(one_way_handlers)
        self._request_handlers = dict(request_handlers or {})
        self._failed = failed

    def is_one_way(self, message_type: str) -> bool:
        """Whether messages of a type get no answer."""
        return message_type in self._one_way_handlers

    def dispatch(self, caller: Caller, message: Message) -> None:
        """Handle one message. Never raises: every request gets exactly one answer."""
        entry = self._served.get(message.type)
        if entry is None:
            self._dispatch_other(caller, message)
            return
        try:
            text, payload = envelope.split(message.data)
            self._run(caller, message.id, entry, text, payload)
        except RoomException as error:
            caller.fail(message.id, error)
        except _ENDS_THE_PROGRAM:
            raise
        except BaseException as error:  # noqa: BLE001 - a service's fault, a Rust panic too, must not end the connection
            caller.fail(message.id, self.unexpected(caller.participant, message.type, error))

    def _dispatch_other(self, caller: Caller, message: Message) -> None:
        request_handler = self._request_handlers.get(message.type)
        if request_handler is not None:
            self._dispatch_request(caller, message, request_handler)
            return
        one_way_handler = self._one_way_handlers.get(message.type)
        if one_way_handler is None:
            caller.fail(message.id, InvalidRequestError(f"unknown request {message.type[:100]!r}"))
            return
        RUNNING.name = message.type
        try:
            one_way_handler(caller.participant, message)
        except RoomException as error:
            log.info("ignored %s of %r: %s", message.type, caller.participant, error)
        except _ENDS_THE_PROGRAM:
            raise
        except BaseException as error:  # noqa: BLE001 - as in dispatch
            self.unexpected(caller.participant, message.type, error)

    def _dispatch_request(self, caller: Caller, message: Message, handler: RequestHandler) -> None:
        RUNNING.name = message.type
        try:
            _check_header(message)
            handler(caller, message)
        except RoomException as error:
            caller.fail(message.id, error)
        except _ENDS_THE_PROGRAM:
            raise
        except BaseException as error:  # noqa: BLE001 - as in dispatch
            caller.fail(message.id, self.unexpected(caller.participant, message.type, error))

    def unexpected(self, participant: Participant, message_type: str, error: BaseException) -> RoomException:
        """Log a failure that is the server's fault, and make the error that the caller gets."""
        log.error("%s of %r failed", message_type, participant, exc_info=error)
        if self._failed is not None:
            self._failed(participant, message_type, error)
        return InternalError(f"{message_type} failed inside the server; its log says more")


def _check_header(message: Message) -> None:
    """Refuse a header whose lenient reading would hold up everybody."""
    if len(message.data) > MAX_LENIENT_VALUES and int.from_bytes(message.data[:8], "big") > MAX_LENIENT_VALUES:
        check_strict(envelope.split(message.data)[0])
