"""Attributes that participants set for themselves; everybody who enabled messaging sees them."""

from __future__ import annotations

from typing import Any

from meshagent.api import jsontext
from meshagent.api.contracts.messaging import MESSAGE, PARTICIPANT_ATTRIBUTES, MessageEvent
from meshagent.api.errors import InvalidRequestError
from meshagent.api.wire import envelope
from meshagent.api.wire.packets import Message
from meshagent.server.kernel.byte_budget import ByteBudget
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.json_cost import check_values
from meshagent.server.kernel.participant import Participant

MAX_ATTRIBUTES = 1000

MAX_ATTRIBUTE_BYTES = 1024 * 1024
"""JSON text of all attributes of one participant."""


class ParticipantAttributes:
    """Takes the attributes of one room's participants.

    Args:
        room: The room.
        budget: Bytes of all of them together.
    """

    def __init__(self, room: RoomContext, budget: ByteBudget) -> None:
        self._room = room
        self._budget = budget

    def left(self, participant: Participant) -> None:
        self._budget.change(-participant.attribute_bytes)
        participant.attribute_bytes = 0

    async def close(self) -> None:
        pass

    def set(self, participant: Participant, message: Message) -> None:
        """Merge a participant's own attributes; its `name` stays the token's (protocol 5.6).

        Raises:
            InvalidRequestError: There would be too many, or too many bytes.
            LimitExceededError: All participants together would have too many bytes.
        """
        check_values(envelope.split(message.data)[0])
        changed, _ = envelope.unpack(message.data)
        changed.pop("name", None)
        if not changed:
            return
        merged = {**participant.attributes, **changed}
        if len(merged) > MAX_ATTRIBUTES:
            raise InvalidRequestError(f"a participant can have {MAX_ATTRIBUTES:,} attributes at most")
        self._check_size(participant, merged, len(message.data))
        participant.attributes = merged
        if not participant.messaging_enabled:
            return
        others = [p for p in self._room.participants.values() if p.messaging_enabled and p is not participant]
        event = MessageEvent(
            from_participant_id=participant.id,
            type=PARTICIPANT_ATTRIBUTES,
            message=jsontext.raw({"attributes": changed}),
        )
        self._room.publish(MESSAGE, event, to=others)

    def _check_size(self, participant: Participant, merged: dict[str, Any], added: int) -> None:
        """Refuse too many bytes. Counted is what was sent; only beyond the bound is it measured what is left of it."""
        size = participant.attribute_bytes + added
        if size > MAX_ATTRIBUTE_BYTES:
            size = len(jsontext.dumps(merged))
            if size > MAX_ATTRIBUTE_BYTES:
                raise InvalidRequestError(
                    f"the attributes of a participant can have {MAX_ATTRIBUTE_BYTES:,} bytes at most"
                )
        more = size - participant.attribute_bytes
        self._budget.check(more)
        self._budget.change(more)
        participant.attribute_bytes = size
