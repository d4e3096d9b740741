"""Names of participants."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshagent.api.participant import Participant
    from meshagent.api.room.client import RoomClient

__all__ = ["name_of", "own_name"]


def name_of(participant: Participant) -> str:
    """Return the participant's name, or an empty string."""
    name = participant.get_attribute("name")
    return name if isinstance(name, str) else ""


def own_name(room: RoomClient) -> str:
    """Return the name under which this client is in the room."""
    return name_of(room.local_participant)
