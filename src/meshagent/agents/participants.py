"""Finding participants by what is known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshagent.api.room.participants import RemoteParticipant

if TYPE_CHECKING:
    from meshagent.api.participant import Participant
    from meshagent.api.room.client import RoomClient

__all__ = ["find_participant", "name_of", "own_name"]


def find_participant(room: RoomClient, participant_id: str) -> Participant:
    """Whoever has that id; one who is not known, since messaging is not enabled, as an id alone."""
    if participant_id == room.local_participant.id:
        return room.local_participant
    for participant in room.messaging.remote_participants:
        if participant.id == participant_id:
            return participant
    return RemoteParticipant(id=participant_id)


def name_of(participant: Participant) -> str:
    """The participant's name, empty if it has none."""
    name = participant.get_attribute("name")
    return name if isinstance(name, str) else ""


def own_name(room: RoomClient) -> str:
    """The name by which the others know this client."""
    return name_of(room.local_participant)
