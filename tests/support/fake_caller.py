"""A connection without a socket: everything that its participant is sent, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from meshagent.api import jsontext
from meshagent.api.errors import RoomException
from meshagent.api.tokens.scope import FULL_ROOM_SCOPE, ApiScope
from meshagent.api.wire import envelope
from meshagent.api.wire.packets import Message, Reassembler
from meshagent.server.kernel.dispatcher import Dispatcher
from meshagent.server.kernel.operations import EncodedContent
from meshagent.server.kernel.participant import Outbox, Participant


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request: a result, or the error that it failed with."""

    message_id: int
    result: Any


@dataclass(frozen=True, slots=True)
class Event:
    """A message that is no answer."""

    message_id: int
    type: str
    header: Any
    payload: bytes

    @property
    def chunk(self) -> Any:
        """The header of the content in a chunk of a stream."""
        return self.header["chunk"]


class FakeCaller(Outbox):
    """A `Caller`, and the outbox of its participant.

    Attributes:
        participant: Who the connection belongs to; the id is `NAME-id`.
        sent_log: What the participant was sent since `take`.
    """

    def __init__(self, name: str = "alice", *, role: str = "user", scope: ApiScope = FULL_ROOM_SCOPE) -> None:
        self.participant = Participant(participant_id=f"{name}-id", name=name, role=role, scope=scope, outbox=self)
        self.sent_log: list[Answer | Event] = []
        self._arrived = asyncio.Event()
        self._messages = Reassembler(2**30)

    def take(self) -> list[Answer | Event]:
        """What the participant was sent since the last time, oldest first."""
        log, self.sent_log = self.sent_log, []
        self._arrived.clear()
        return log

    async def next_answer(self) -> Any:
        """As `take_answer`, for a request that takes time; waits for it."""
        async with asyncio.timeout(10):
            await self._arrived.wait()
        return self.take_answer()

    def _keep(self, entry: Answer | Event) -> None:
        self.sent_log.append(entry)
        self._arrived.set()

    def take_answer(self) -> Any:
        """The result of the one answer since the last time, which nothing else came with."""
        [answer] = self.take()
        assert isinstance(answer, Answer)
        return answer.result

    def take_event(self) -> Event:
        """The one event since the last time, which nothing else came with."""
        [event] = self.take()
        assert isinstance(event, Event)
        return event

    def send(
        self, dispatcher: Dispatcher, message_type: str, header: Any, payload: bytes = b"", message_id: int = 1
    ) -> None:
        """Send a message to a room's dispatcher, as the connection does with what it reads."""
        dispatcher.dispatch(self, Message(message_id, message_type, envelope.pack(header, payload)))

    # --- Caller --------------------------------------------------------------------------------------

    def answer(self, message_id: int, result: object) -> None:
        self._keep(Answer(message_id, _readable(result)))

    def fail(self, message_id: int, error: RoomException) -> None:
        self._keep(Answer(message_id, error))

    def answer_when_done(self, message_id: int, result: Any, size: int) -> None:
        def finish(done: asyncio.Future[Any]) -> None:
            if not done.cancelled():
                self.answer(message_id, done.exception() or done.result())

        asyncio.ensure_future(result).add_done_callback(finish)

    # --- Outbox --------------------------------------------------------------------------------------

    def deliver(self, frames: bytes) -> None:
        for packet in _packets(frames):
            message = self._messages.receive(packet)
            if message is not None:
                header, payload = envelope.unpack(message.data)
                self._keep(Event(message.id, message.type, header, payload))

    async def sent(self) -> bool:
        return True

    def disconnect(self, code: int, reason: str) -> None:
        raise AssertionError(f"disconnected: {code} {reason}")


def _readable(result: object) -> object:
    """A relayed content as its decoded header, with its payload if it has one."""
    if not isinstance(result, EncodedContent):
        return result
    header = jsontext.loads(result.header)
    return (header, result.payload) if result.payload else header


def _packets(frames: bytes) -> Iterator[bytes]:
    """The payloads of unmasked binary frames."""
    while frames:
        assert frames[0] == 0x82, "a final binary frame"
        length, start = frames[1], 2
        if length == 126:
            length, start = int.from_bytes(frames[2:4], "big"), 4
        elif length == 127:
            length, start = int.from_bytes(frames[2:10], "big"), 10
        yield frames[start : start + length]
        frames = frames[start + length :]
