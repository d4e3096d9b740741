"""Look up the participants that messages name by id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshagent.api.room.participants import RemoteParticipant

if TYPE_CHECKING:
    from meshagent.api.participant import Participant
    from meshagent.api.room.client import RoomClient

__all__ = ["find_participant"]


def find_participant(room: RoomClient, participant_id: str) -> Participant:
    """Return the participant with that id.

    A participant that has not enabled messaging is not listed in the room; it is returned with its id only.
    """
    if participant_id == room.local_participant.id:
        return room.local_participant
    for participant in room.messaging.remote_participants:
        if participant.id == participant_id:
            return participant
    return RemoteParticipant(id=participant_id)
