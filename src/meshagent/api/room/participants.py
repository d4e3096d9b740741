"""The participants of a room as its client sees them: the client itself and the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from meshagent.api.errors import PermissionDeniedError
from meshagent.api.jsontext import Json
from meshagent.api.participant import Participant
from meshagent.api.transport.chan import ChanClosed
from meshagent.api.transport.protocol import Protocol
from meshagent.api.wire import envelope, names

__all__ = ["Identity", "LocalParticipant", "Presence", "RemoteParticipant"]


class LocalParticipant(Participant):
    """This client as a participant. The object stays the same when the client reconnects; its id changes."""

    def __init__(self, *, id: str, attributes: dict[str, Json], protocol: Protocol) -> None:
        super().__init__(id=id, attributes=attributes)
        self._protocol = protocol
        self._own: dict[str, Json] = {}  # what this client has set, to be set again on the next connection
        self._reconnects = False

    @property
    def protocol(self) -> Protocol:
        """The connection to the room."""
        return self._protocol

    async def set_attribute(self, name: str, value: Json) -> None:
        """Set an attribute, here at once and then for everyone who enabled messaging. There is no answer.

        While the client reconnects, the change is kept and sent as soon as it can be.

        Raises:
            ChanClosed: The connection is closed for good.
        """
        self._attributes[name] = value
        self._own[name] = value
        try:
            await self._protocol.send(names.SET_ATTRIBUTES, envelope.pack({name: value}))
        except ChanClosed:
            if not self._reconnects:
                raise


class Identity:
    """The local participant of a client, kept up to date when the client reconnects.

    Attributes:
        participant: None before the first connection.
    """

    def __init__(self, protocol: Protocol) -> None:
        self.participant: LocalParticipant | None = None
        self._protocol = protocol

    def connected(self, id: str, attributes: dict[str, Json], *, reconnects: bool) -> None:
        """Take over id and attributes from the room; attributes that the client has set stay.

        Args:
            id: The participant id on this connection.
            attributes: The attributes that the room knows.
            reconnects: Whether the client reconnects when it loses this connection.
        """
        local = self.participant
        if local is None:
            local = self.participant = LocalParticipant(id=id, attributes=attributes, protocol=self._protocol)
        else:
            local.id = id
            local._attributes = {**attributes, **local._own}
        local._reconnects = reconnects

    def closed(self) -> None:
        """Refuse new attributes from now on: the connection is closed for good."""
        if self.participant is not None:
            self.participant._reconnects = False

    async def send_own_attributes(self) -> None:
        """Send all attributes that the client has set."""
        if self.participant is not None and self.participant._own:
            await self._protocol.send(names.SET_ATTRIBUTES, envelope.pack(self.participant._own))


class RemoteParticipant(Participant):
    """Another participant, who has enabled messaging.

    Attributes:
        role: `user`, `agent`, `tool`, … as their token says.
    """

    def __init__(self, *, id: str, role: str | None = None, attributes: dict[str, Json] | None = None) -> None:
        super().__init__(id=id, attributes=attributes if attributes is not None else {})
        self.role = role if role is not None else "unknown"

    def set_attribute(self, name: str, value: Json) -> NoReturn:
        """Always refused: only a participant itself sets its attributes."""
        raise PermissionDeniedError("only a participant itself can set its attributes")


class Presence:
    """The other participants who have enabled messaging, kept up to date with what the room tells.

    Args:
        emit: Called with `participant_added`, `participant_attributes_updated` or `participant_removed`, and the
            participant as `participant`.
        before_removal: Called with the id of a participant who has left, before the event.
    """

    def __init__(self, emit: Callable[..., None], before_removal: Callable[[str], None]) -> None:
        self._emit = emit
        self._before_removal = before_removal
        self._participants: dict[str, RemoteParticipant] = {}

    def all(self) -> list[RemoteParticipant]:
        """The participants, in the order in which they came."""
        return list(self._participants.values())

    def get(self, participant_id: str) -> RemoteParticipant | None:
        """The participant with that id, if it is here."""
        return self._participants.get(participant_id)

    def clear(self) -> None:
        """Forget everybody, without events."""
        self._participants.clear()

    def replace(self, entries: Iterable[dict[str, Any]], *, announce: bool) -> None:
        """Take over the room's list of participants.

        Args:
            entries: Each with `id`, `role` and `attributes`.
            announce: Emit `participant_added` for those who are new; who has left is always announced.
        """
        listed = {entry["id"]: entry for entry in entries}
        for participant_id in [known for known in self._participants if known not in listed]:
            self.remove(participant_id)
        for participant_id, entry in listed.items():
            known = self._participants.get(participant_id)
            if known is not None:
                known._attributes = dict(entry["attributes"])
            else:
                self.add(entry, announce=announce)

    def add(self, entry: dict[str, Any], *, announce: bool = True) -> None:
        """A participant has enabled messaging."""
        attributes = dict(entry["attributes"])
        participant = RemoteParticipant(id=entry["id"], role=entry["role"], attributes=attributes)
        self._participants[participant.id] = participant
        if announce:
            self._emit("participant_added", participant=participant)

    def remove(self, participant_id: str) -> None:
        """A participant has left or disabled messaging."""
        participant = self._participants.pop(participant_id, None)
        if participant is not None:
            self._before_removal(participant_id)
            self._emit("participant_removed", participant=participant)

    def update_attributes(self, participant_id: str, attributes: dict[str, Json]) -> None:
        """A participant has changed some of its attributes."""
        participant = self._participants.get(participant_id)
        if participant is not None:
            participant._attributes.update(attributes)
            self._emit("participant_attributes_updated", participant=participant)
