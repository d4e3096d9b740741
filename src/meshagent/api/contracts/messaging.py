"""`messaging.*`: presence and messages between participants (protocol 5)."""

from __future__ import annotations

from typing import Any

import msgspec

from meshagent.api.contracts.operation import Empty, Event, Operation


class SendRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A message to one participant; the payload is the attachment."""

    to_participant_id: str
    type: str
    message: msgspec.Raw = msgspec.Raw(b"{}")


class BroadcastRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A message to all other participants with messaging enabled; the payload is the attachment."""

    type: str
    message: msgspec.Raw = msgspec.Raw(b"{}")


class MessageEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A message as participants receive it. The server's own have one of `SERVER_OWNED_TYPES`."""

    from_participant_id: str
    type: str
    message: msgspec.Raw


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """A participant as others see it."""

    id: str
    role: str
    attributes: dict[str, Any]


class PresenceList(msgspec.Struct, frozen=True, kw_only=True):
    """The other participants with messaging enabled."""

    participants: list[Presence]


ENABLE = Operation("messaging.enable", Empty, Empty)
DISABLE = Operation("messaging.disable", Empty, Empty)
SEND = Operation("messaging.send", SendRequest, Empty)
BROADCAST = Operation("messaging.broadcast", BroadcastRequest, Empty)

MESSAGE = Event("messaging.send", MessageEvent)
"""A message for this participant, or for all; the payload is the attachment."""

MESSAGING_ENABLED = "messaging.enabled"
PARTICIPANT_ENABLED = "participant.enabled"
PARTICIPANT_DISABLED = "participant.disabled"
PARTICIPANT_ATTRIBUTES = "participant.attributes"
SERVER_OWNED_TYPES = frozenset({MESSAGING_ENABLED, PARTICIPANT_ENABLED, PARTICIPANT_DISABLED, PARTICIPANT_ATTRIBUTES})
"""Message types reserved for the server; clients could forge presence with them."""
