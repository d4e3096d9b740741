"""Presence and messages between participants: `room.messaging` (protocol 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meshagent.api import jsontext
from meshagent.api.contracts import messaging as api
from meshagent.api.contracts.content import Body
from meshagent.api.contracts.operation import EMPTY
from meshagent.api.errors import InvalidRequestError
from meshagent.api.jsontext import Json
from meshagent.api.participant import Participant
from meshagent.api.room import streams
from meshagent.api.room._done import DONE, Done
from meshagent.api.room.core import ConnectionHooks, RoomCore
from meshagent.api.room.events import EventSource
from meshagent.api.room.participants import Presence, RemoteParticipant
from meshagent.api.room.streams import MessageStreamWriter, StreamAcceptor, Streams

__all__ = ["MessagingClient", "RoomMessage"]


class RoomMessage:
    """A message that a participant sent.

    Attributes:
        from_participant_id: The sender.
        type: The type that the sender gave it.
        message: JSON, by convention an object.
        attachment: Bytes, empty if there are none.
    """

    def __init__(self, *, from_participant_id: str, type: str, message: Json, attachment: bytes | None = None) -> None:
        self.from_participant_id = from_participant_id
        self.type = type
        self.message = message
        self.attachment = attachment

    def __repr__(self) -> str:
        return f"<RoomMessage {self.type!r} from {self.from_participant_id}: {self.message!r}>"


class MessagingClient(EventSource):
    """Messages between participants; use it as `room.messaging`.

    Sending and receiving work at once. After `enable`, this participant is visible to others, and they are in
    `remote_participants`. Events:
    `message` (message), and once enabled `messaging_enabled`, `participant_added` (participant),
    `participant_attributes_updated` (participant), `participant_removed` (participant).
    """

    def __init__(self, *, room: RoomCore) -> None:
        super().__init__(room.spawn)
        self._room = room
        self._enabled = False
        self._streams = Streams(self, room.spawn)
        self._presence = Presence(self.emit, self._streams.participant_left)
        self._handlers: dict[str, Callable[[str, Any, bytes], None]] = {
            streams.STREAM_CHUNK: lambda _, message, data: self._streams.chunk(message, data),
            streams.STREAM_OPEN: lambda sender, message, _: self._stream_opened(sender, message),
            streams.STREAM_ACCEPT: lambda sender, message, _: self._streams.accepted(sender, message),
            streams.STREAM_REJECT: lambda sender, message, _: self._streams.rejected(sender, message),
            streams.STREAM_CLOSE: lambda _, message, __: self._streams.closed(message),
            api.MESSAGING_ENABLED: lambda _, message, __: self._presence_listed(message),
            api.PARTICIPANT_ENABLED: lambda _, message, __: self._presence.add(message),
            api.PARTICIPANT_DISABLED: lambda _, message, __: self._presence.remove(message["id"]),
            api.PARTICIPANT_ATTRIBUTES: self._attributes_changed,
        }
        room.listen(api.MESSAGE, self._on_message)
        room.follow_connection(
            ConnectionHooks(name="messaging", lost=self._streams.connection_lost, restore=self._restore)
        )

    # -- presence

    @property
    def remote_participants(self) -> list[RemoteParticipant]:
        """The other participants who have enabled messaging; empty until this client has."""
        return self._presence.all()

    def get_participants(self) -> list[RemoteParticipant]:
        """The same as `remote_participants`."""
        return self.remote_participants

    async def enable(self, on_stream_accept: StreamAcceptor | None = None) -> None:
        """Become visible to others, also after reconnecting. Then `remote_participants` lists who else is.

        Args:
            on_stream_accept: Called with a `MessageStreamReader` for each stream that a participant opens to this
                one. Without it, streams are rejected.
        """
        self._streams.on_accept = on_stream_accept
        await self._room.call(api.ENABLE, EMPTY)
        self._enabled = True

    async def disable(self) -> None:
        """Become invisible to others. Messages sent to this participant still arrive."""
        self._enabled = False
        await self._room.call(api.DISABLE, EMPTY)
        self._presence.clear()

    def start(self) -> Done:
        """Do nothing: the client works as soon as the room is ready. May be awaited."""
        return DONE

    def stop(self) -> Done:
        """Do nothing: the client works until the room is left. May be awaited."""
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
        kind, content, data = _message_parts(message, attachment)
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
        """As `send_message`, without waiting; a failure is logged."""
        self._room.call_nowait(
            api.SEND,
            _send_request(to, type, message),
            attachment or b"",
            if_fails=f"a message of type {type!r} was not delivered",
        )

    async def broadcast_message(
        self,
        options: Mapping[str, Any] | None = None,
        /,
        *,
        type: str | None = None,
        message: Json = None,
        attachment: bytes | None = None,
    ) -> None:
        """Send a message to all other participants who have enabled messaging."""
        if options is not None:
            await self.broadcast_message(**options)
            return
        if type is None:
            raise InvalidRequestError("a message needs `type`")
        request = api.BroadcastRequest(type=type, message=jsontext.raw(message))
        await self._room.call(api.BROADCAST, request, attachment or b"")

    # -- streams

    async def create_stream(self, *, to: RemoteParticipant, header: dict[str, Json]) -> MessageStreamWriter:
        """Open a stream of bytes to a participant; returns when the participant has accepted it.

        Both sides must have messaging enabled.

        Raises:
            RoomException: The participant rejected it; the text is theirs.
            NotFoundError: The participant is not in the room, or left before answering.
            ConnectionLostError: The connection closed before the participant answered.
        """
        return await self._streams.open(to, header)

    # -- receiving

    def _on_message(self, event: api.MessageEvent, attachment: bytes) -> None:
        sender, message = event.from_participant_id, jsontext.loads(bytes(event.message))
        handle = self._handlers.get(event.type)
        if handle is not None:
            handle(sender, message, attachment)
        else:
            received = RoomMessage(from_participant_id=sender, type=event.type, message=message, attachment=attachment)
            self.emit("message", message=received)

    def _presence_listed(self, message: dict[str, Any]) -> None:
        """Take over the list of participants. After reconnecting it also tells who has left and who is new."""
        self._presence.replace(message["participants"], announce=self._enabled)
        self.emit("messaging_enabled")

    def _attributes_changed(self, sender: str, message: dict[str, Any], attachment: bytes) -> None:
        self._presence.update_attributes(sender, message["attributes"])

    def _stream_opened(self, sender: str, message: dict[str, Any]) -> None:
        self._streams.opened(sender, self._presence.get(sender), message)

    async def _restore(self, same_run: bool) -> None:
        if self._enabled:
            await self._room.call_now(api.ENABLE, EMPTY)


def _send_request(to: Participant | str | None, message_type: str | None, message: Json) -> api.SendRequest:
    if to is None or message_type is None:
        raise InvalidRequestError("a message needs `to` and `type`")
    participant_id = to.id if isinstance(to, Participant) else to
    return api.SendRequest(to_participant_id=participant_id, type=message_type, message=jsontext.raw(message))


def _message_parts(
    message: str | bytes | Mapping[str, Json] | Body, attachment: bytes | None
) -> tuple[str, Json, bytes | None]:
    """Type, message and attachment for what `send` was given."""
    match message:
        case str():
            return "text", {"text": message}, attachment
        case bytes() | bytearray() | memoryview():
            if attachment is not None:
                raise InvalidRequestError("a message of bytes cannot have an attachment")
            return "file", {}, bytes(message)
        case Body():
            data = message.get_data()
            if data is not None and attachment is not None:
                raise InvalidRequestError("a content with bytes cannot have an attachment")
            return message.type, message.to_json(), attachment if data is None else data
        case Mapping():
            return "json", dict(message), attachment
    raise InvalidRequestError(f"a {type(message).__name__} cannot be sent as a message")
