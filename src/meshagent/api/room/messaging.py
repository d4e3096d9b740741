"""Presence and messages between participants: `room.messaging` (spec room-protocol 5.3, 10.4)."""

from __future__ import annotations

import asyncio
import inspect
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from meshagent.api import jsontext
from meshagent.api.contracts import messaging as api
from meshagent.api.contracts.content import Body
from meshagent.api.contracts.operation import EMPTY
from meshagent.api.errors import ConnectionLostError, InvalidRequestError, NotFoundError, RoomException
from meshagent.api.jsontext import Json
from meshagent.api.participant import Participant
from meshagent.api.room import streams
from meshagent.api.room._done import DONE, Done
from meshagent.api.room.events import EventSource
from meshagent.api.room.participants import RemoteParticipant
from meshagent.api.room.requests import log_failure
from meshagent.api.room.streams import MessageStreamChunk, MessageStreamReader, MessageStreamWriter
from meshagent.api.transport.chan import ChanClosed, ChanFull
from meshagent.api.transport.protocol import MessageHandler, Protocol
from meshagent.api.wire import envelope

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["MessagingClient", "RoomMessage"]

log = logging.getLogger(__name__)

StreamAcceptor = Callable[[MessageStreamReader], Any]
"""Told of each stream that somebody opens to us; may be a coroutine function.

Returning, or beginning to read, accepts the stream; raising before that rejects it."""


class RoomMessage:
    """A message that a participant sent.

    Attributes:
        from_participant_id: Who.
        type: What kind, in the program's own terms.
        message: Its JSON, by convention an object.
        attachment: Its bytes, empty if there are none.
    """

    def __init__(self, *, from_participant_id: str, type: str, message: Json, attachment: bytes | None = None) -> None:
        self.from_participant_id = from_participant_id
        self.type = type
        self.message = message
        self.attachment = attachment

    def __repr__(self) -> str:
        return f"<RoomMessage {self.type!r} from {self.from_participant_id}: {self.message!r}>"


@dataclass(frozen=True, slots=True)
class _Opening:
    """A stream that its peer has not answered yet."""

    to: RemoteParticipant
    answer: asyncio.Future[None]


class MessagingClient(EventSource):
    """Use it as `room.messaging`.

    Sending and receiving work at once; `enable` shows oneself to the others and the others here. Events:
    `message` (message), and once enabled `messaging_enabled`, `participant_added` (participant),
    `participant_attributes_updated` (participant), `participant_removed` (participant).
    """

    def __init__(self, *, room: RoomClient) -> None:
        super().__init__(room._tasks)
        self._room = room
        self._participants: dict[str, RemoteParticipant] = {}
        self._enabled = False
        self._on_stream_accept: StreamAcceptor | None = None
        self._openings: dict[str, _Opening] = {}
        self._readers: dict[str, MessageStreamReader] = {}
        self._events: dict[str, Callable[[str, Any], None]] = {
            api.MESSAGING_ENABLED: self._present,
            api.PARTICIPANT_ENABLED: lambda _, message: self._added(message),
            api.PARTICIPANT_DISABLED: lambda _, message: self._removed(message["id"]),
            api.PARTICIPANT_ATTRIBUTES: self._attributes_changed,
            streams.STREAM_OPEN: self._stream_opened,
            streams.STREAM_ACCEPT: self._stream_accepted,
            streams.STREAM_REJECT: self._stream_rejected,
            streams.STREAM_CLOSE: self._stream_closed,
        }

    # -- presence

    @property
    def remote_participants(self) -> list[RemoteParticipant]:
        """The others who enabled messaging; empty before this client did."""
        return list(self._participants.values())

    def get_participants(self) -> list[RemoteParticipant]:
        """As `remote_participants`."""
        return self.remote_participants

    async def enable(self, on_stream_accept: StreamAcceptor | None = None) -> None:
        """Become visible; afterwards `remote_participants` holds those who are. Survives reconnecting.

        Args:
            on_stream_accept: Called with a `MessageStreamReader` for each stream that somebody opens; without
                it streams are rejected.
        """
        self._on_stream_accept = on_stream_accept
        await self._room.call(api.ENABLE, EMPTY)
        self._enabled = True

    async def disable(self) -> None:
        """Become invisible. Messages that are sent to this participant still arrive."""
        self._enabled = False
        await self._room.call(api.DISABLE, EMPTY)
        self._participants.clear()

    def start(self) -> Done:
        """Does nothing: the client works from when the room is ready. May be awaited."""
        return DONE

    def stop(self) -> Done:
        """Does nothing: the client works until the room is left. May be awaited."""
        return DONE

    # -- sending

    async def send(
        self,
        message: str | bytes | Mapping[str, Json] | Body,
        *,
        to: Participant | str | None = None,
        type: str | None = None,
        attachment: bytes | None = None,
    ) -> None:
        """Send a text, JSON, bytes or a content to one participant, or without `to` to all who enabled messaging.

        The type, unless given, is `text` with the message `{"text": …}`, `json` with the object itself, `file`
        with `{}` and the bytes attached, or the content's own type with its header and bytes.
        """
        kind, content, data = _shorthand(message, attachment)
        if to is None:
            await self.broadcast_message(type=type or kind, message=content, attachment=data)
        else:
            await self.send_message(to=to, type=type or kind, message=content, attachment=data)

    async def send_message(
        self,
        options: Mapping[str, Any] | None = None,
        /,
        *,
        to: Participant | str | None = None,
        type: str | None = None,
        message: Json = None,
        attachment: bytes | None = None,
    ) -> None:
        """Send a message to one participant; returns when the room has passed it on.

        Messages to one participant arrive in the order of the calls. `options` takes the same arguments as one
        dict.

        Raises:
            NotFoundError: That participant is not in the room; others as `RoomClient.call`.
        """
        if options is not None:
            await self.send_message(**options)
            return
        await self._room.call(api.SEND, _send_request(to, type, message), attachment or b"")

    def send_message_nowait(
        self, *, to: Participant | str, type: str, message: Json, attachment: bytes | None = None
    ) -> None:
        """As `send_message`, without waiting; a failure goes to this program's log only."""
        try:
            answer = self._room._call_nowait(api.SEND, _send_request(to, type, message), attachment or b"")
        except (ChanClosed, ChanFull) as error:
            log.warning("a message of type %r was not sent: %s", type, error)
        else:
            answer.add_done_callback(partial(log_failure, f"a message of type {type!r} was not delivered"))

    async def broadcast_message(
        self,
        options: Mapping[str, Any] | None = None,
        /,
        *,
        type: str | None = None,
        message: Json = None,
        attachment: bytes | None = None,
    ) -> None:
        """Send a message to everybody else who enabled messaging; that may be nobody."""
        if options is not None:
            await self.broadcast_message(**options)
            return
        if type is None:
            raise InvalidRequestError("a message needs a type")
        request = api.BroadcastRequest(type=type, message=jsontext.raw(message))
        await self._room.call(api.BROADCAST, request, attachment or b"")

    # -- streams

    async def create_stream(self, *, to: RemoteParticipant, header: dict[str, Json]) -> MessageStreamWriter:
        """Open a stream of bytes to a participant; returns when they have accepted it.

        Both sides must have messaging enabled.

        Raises:
            RoomException: They rejected it, in their words.
            NotFoundError: They are not in the room, or left it before they answered.
            ConnectionLostError: The connection ended before they answered.
        """
        stream_id = str(uuid.uuid4())
        opening = _Opening(to, asyncio.get_running_loop().create_future())
        self._openings[stream_id] = opening
        try:
            message = {"stream_id": stream_id, "header": header}
            await self.send_message(to=to, type=streams.STREAM_OPEN, message=message)
            await opening.answer
        finally:
            del self._openings[stream_id]
            if opening.answer.done() and not opening.answer.cancelled():
                opening.answer.exception()  # seen, also where sending failed first
        return MessageStreamWriter(stream_id, to, self)

    # -- receiving

    def _message_handlers(self) -> list[tuple[str, MessageHandler]]:
        return [(api.MESSAGE.name, self._on_message)]

    def _on_message(self, protocol: Protocol, message_id: int, message_type: str, data: bytes) -> None:
        header, attachment = envelope.unpack(data)
        sender, kind, message = header["from_participant_id"], header["type"], header["message"]
        if kind == streams.STREAM_CHUNK:
            self._stream_chunk(message, attachment)
        elif (handle := self._events.get(kind)) is not None:
            handle(sender, message)
        else:
            received = RoomMessage(from_participant_id=sender, type=kind, message=message, attachment=attachment)
            self.emit("message", message=received)

    def _present(self, sender: str, message: dict[str, Any]) -> None:
        """The list of who is here. After reconnecting it also tells who left and who came meanwhile."""
        listed = {entry["id"]: entry for entry in message["participants"]}
        for gone in [participant_id for participant_id in self._participants if participant_id not in listed]:
            self._removed(gone)
        for participant_id, entry in listed.items():
            known = self._participants.get(participant_id)
            if known is not None:
                known._attributes = dict(entry["attributes"])
            elif self._enabled:
                self._added(entry)
            else:
                self._participants[participant_id] = _participant(entry)
        self.emit("messaging_enabled")

    def _added(self, entry: dict[str, Any]) -> None:
        participant = self._participants[entry["id"]] = _participant(entry)
        self.emit("participant_added", participant=participant)

    def _removed(self, participant_id: str) -> None:
        participant = self._participants.pop(participant_id, None)
        if participant is None:
            return
        for opening in self._openings.values():
            if opening.to.id == participant_id and not opening.answer.done():
                opening.answer.set_exception(NotFoundError("the participant left before it answered"))
        for reader in [reader for reader in self._readers.values() if reader.to.id == participant_id]:
            self._end_reader(reader, complete=False)
        self.emit("participant_removed", participant=participant)

    def _attributes_changed(self, sender: str, message: dict[str, Any]) -> None:
        participant = self._participants.get(sender)
        if participant is not None:
            participant._attributes.update(message["attributes"])
            self.emit("participant_attributes_updated", participant=participant)

    def _stream_opened(self, sender: str, message: dict[str, Any]) -> None:
        stream_id = message["stream_id"]
        opener, accept = self._participants.get(sender), self._on_stream_accept
        if opener is None or accept is None:
            reason = "the opener is not known here" if opener is None else "streams are not accepted here"
            self._answer_stream(sender, streams.STREAM_REJECT, {"stream_id": stream_id, "error": reason})
            return
        reader = self._readers[stream_id] = MessageStreamReader(stream_id, opener, self, message)
        self._room._tasks.start(self._accept_stream(accept, reader), "stream acceptance")

    async def _accept_stream(self, accept: StreamAcceptor, reader: MessageStreamReader) -> None:
        try:
            result = accept(reader)
            if inspect.isawaitable(result):
                await result
        except Exception as error:  # noqa: BLE001 - its text is the answer, as the protocol wants
            log.info("a stream was not taken: %s", error)
            self._end_reader(reader, complete=False)
            self._reject(reader, str(error))
        else:
            self._accept(reader)

    def _accept(self, reader: MessageStreamReader) -> None:
        """Let the writer begin: the acceptor has returned, or reads already."""
        if not reader._answered:
            reader._answered = True
            self._answer_stream(reader.to, streams.STREAM_ACCEPT, {"stream_id": reader.stream_id})

    def _reject(self, reader: MessageStreamReader, reason: str) -> None:
        if not reader._answered:
            reader._answered = True
            message: dict[str, Json] = {"stream_id": reader.stream_id, "error": reason}
            self._answer_stream(reader.to, streams.STREAM_REJECT, message)

    def _answer_stream(self, to: Participant | str, kind: str, message: dict[str, Json]) -> None:
        self.send_message_nowait(to=to, type=kind, message=message)

    def _stream_accepted(self, sender: str, message: dict[str, Any]) -> None:
        opening = self._openings.get(message["stream_id"])
        if opening is not None and opening.to.id == sender and not opening.answer.done():
            opening.answer.set_result(None)

    def _stream_rejected(self, sender: str, message: dict[str, Any]) -> None:
        opening = self._openings.get(message["stream_id"])
        if opening is not None and opening.to.id == sender and not opening.answer.done():
            opening.answer.set_exception(RoomException(message.get("error") or "the stream was rejected"))

    def _stream_chunk(self, message: dict[str, Any], data: bytes) -> None:
        reader = self._readers.get(message["stream_id"])
        if reader is not None:
            reader._receive(MessageStreamChunk(message["header"], data))

    def _stream_closed(self, sender: str, message: dict[str, Any]) -> None:
        reader = self._readers.get(message["stream_id"])
        if reader is not None:
            self._end_reader(reader, complete=True)

    def _end_reader(self, reader: MessageStreamReader, *, complete: bool) -> None:
        self._readers.pop(reader.stream_id, None)
        reader._end(complete=complete)

    # -- the connection

    def _connection_lost(self) -> None:
        """Streams do not outlive the connection; presence is compared when it is back."""
        for opening in self._openings.values():
            if not opening.answer.done():
                opening.answer.set_exception(ConnectionLostError("the connection ended before the stream was open"))
        for reader in list(self._readers.values()):
            self._end_reader(reader, complete=False)

    async def _restore(self) -> None:
        if self._enabled:
            await self._room._call_now(api.ENABLE, EMPTY)


def _participant(entry: dict[str, Any]) -> RemoteParticipant:
    return RemoteParticipant(id=entry["id"], role=entry["role"], attributes=dict(entry["attributes"]))


def _send_request(to: Participant | str | None, message_type: str | None, message: Json) -> api.SendRequest:
    if to is None or message_type is None:
        raise InvalidRequestError("a message needs an addressee and a type")
    participant_id = to.id if isinstance(to, Participant) else to
    return api.SendRequest(to_participant_id=participant_id, type=message_type, message=jsontext.raw(message))


def _shorthand(
    message: str | bytes | Mapping[str, Json] | Body, attachment: bytes | None
) -> tuple[str, Json, bytes | None]:
    """Type, message and attachment that stand for what `send` was given."""
    match message:
        case str():
            return "text", {"text": message}, attachment
        case bytes() | bytearray() | memoryview():
            if attachment is not None:
                raise InvalidRequestError("bytes are their own attachment: give one or the other")
            return "file", {}, bytes(message)
        case Body():
            data = message.get_data()
            if data is not None and attachment is not None:
                raise InvalidRequestError("this content has its own bytes: do not attach others")
            return message.type, message.to_json(), attachment if data is None else data
        case Mapping():
            return "json", dict(message), attachment
    raise InvalidRequestError(f"a {type(message).__name__} cannot be sent as a message")
