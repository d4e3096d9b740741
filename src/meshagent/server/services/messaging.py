"""Presence and messages between participants (protocol 5)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Final

import msgspec

from meshagent.api import jsontext
from meshagent.api.contracts import messaging as api
from meshagent.api.contracts.operation import EMPTY, Empty
from meshagent.api.errors import InvalidRequestError, NotFoundError, UnavailableError
from meshagent.server.kernel.context import PendingDelivery, RoomContext
from meshagent.server.kernel.operations import AnswerWithFollowUp, ServedOperation, serve, serve_payload
from meshagent.server.kernel.participant import Participant

_NAMED_RECEIVERS: Final = 10
"""Receivers that an error names; it says how many more there are."""

Sent = Empty | Awaitable[Empty]
"""The answer to a message: at once, or when the participants that read slowly have room for it."""


class MessagingService:
    """Serves the `messaging.*` operations of one room."""

    def __init__(self, room: RoomContext) -> None:
        self._room = room

    def operations(self) -> list[ServedOperation]:
        return [
            serve(api.ENABLE, self.enable, grant=lambda scope, _: scope.require_section("messaging")),
            serve(api.DISABLE, self.disable, grant=None),
            serve_payload(api.SEND, self.send, grant=lambda scope, _: scope.require_messaging("send")),
            serve_payload(api.BROADCAST, self.broadcast, grant=lambda scope, _: scope.require_messaging("broadcast")),
        ]

    def enable(self, caller: Participant, request: Empty) -> AnswerWithFollowUp:
        """Announce the caller to the others and list the others to the caller; idempotent.

        The order is: list to the caller, answer, announcement to the others. If the announcement came first, a client
        would reject the stream that a fast peer opens before the answer (protocol 5.2).
        """
        others = self._enabled(besides=caller)
        present = api.PresenceList(participants=[other.presence() for other in others])
        self._room.reply(api.MESSAGE, _event(caller, api.MESSAGING_ENABLED, present), to=caller)
        if caller.messaging_enabled:
            return AnswerWithFollowUp(EMPTY, lambda: None)
        caller.messaging_enabled = True
        return AnswerWithFollowUp(
            EMPTY, lambda: self._push(caller, api.PARTICIPANT_ENABLED, caller.presence(), to=others)
        )

    def disable(self, caller: Participant, request: Empty) -> Empty:
        """Remove the caller from presence."""
        self.left(caller)
        return EMPTY

    def send(self, caller: Participant, request: api.SendRequest, attachment: bytes) -> Sent:
        """Send a message to one participant, whether or not it has messaging enabled.

        Raises:
            NotFoundError: No participant in the room has that id.
            InvalidRequestError: The message type is reserved for the server.
            UnavailableError: The participant read too slowly, and left before it got the message.
        """
        target = self._room.participants.get(request.to_participant_id)
        if target is None:
            # Clients of the current generation compare this text (protocol 5.4).
            raise NotFoundError("the participant was not found")
        return self._forward(caller, request.type, request.message, attachment, [target])

    def broadcast(self, caller: Participant, request: api.BroadcastRequest, attachment: bytes) -> Sent:
        """Send a message to all other participants with messaging enabled, if there are any; errors as in `send`."""
        return self._forward(caller, request.type, request.message, attachment, self._enabled(besides=caller))

    def left(self, participant: Participant) -> None:
        """Announce that a participant has left, if it was announced before."""
        if not participant.messaging_enabled:
            return
        participant.messaging_enabled = False
        others = self._enabled(besides=participant)
        self._push(participant, api.PARTICIPANT_DISABLED, {"id": participant.id}, to=others)

    async def close(self) -> None:
        """Nothing to release: the state belongs to connections."""

    def _forward(
        self, caller: Participant, message_type: str, message: msgspec.Raw, attachment: bytes, to: list[Participant]
    ) -> Sent:
        if message_type in api.SERVER_OWNED_TYPES:
            raise InvalidRequestError(f"message type {message_type!r} is reserved for the server")
        event = api.MessageEvent(from_participant_id=caller.id, type=message_type, message=message)
        waiting = self._room.offer(api.MESSAGE, event, attachment, to=to)
        return _when_delivered(waiting) if waiting else EMPTY

    def _push(self, subject: Participant, message_type: str, message: object, *, to: list[Participant]) -> None:
        self._room.publish(api.MESSAGE, _event(subject, message_type, message), to=to)

    def _enabled(self, *, besides: Participant) -> list[Participant]:
        return [p for p in self._room.participants.values() if p.messaging_enabled and p is not besides]


def _event(subject: Participant, message_type: str, message: object) -> api.MessageEvent:
    return api.MessageEvent(from_participant_id=subject.id, type=message_type, message=jsontext.raw(message))


async def _when_delivered(waiting: Sequence[PendingDelivery]) -> Empty:
    """Wait for the participants that read slowly; the others have the message already."""
    delivered = await asyncio.gather(*(delivery for _, delivery in waiting))
    missed = [participant for (participant, _), came in zip(waiting, delivered, strict=True) if not came]
    if missed:
        names = ", ".join(f"{participant.name!r} ({participant.id})" for participant in missed[:_NAMED_RECEIVERS])
        more = f" and {len(missed) - _NAMED_RECEIVERS} more" if len(missed) > _NAMED_RECEIVERS else ""
        raise UnavailableError(f"the message was not delivered to {names}{more}: too slow at reading, or gone")
    return EMPTY
