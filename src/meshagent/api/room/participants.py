"""The participants of a room as its client sees them: oneself and the others."""

from __future__ import annotations

from typing import NoReturn

from meshagent.api.errors import PermissionDeniedError
from meshagent.api.jsontext import Json
from meshagent.api.participant import Participant
from meshagent.api.transport.chan import ChanClosed
from meshagent.api.transport.protocol import Protocol
from meshagent.api.wire import envelope, names

__all__ = ["LocalParticipant", "RemoteParticipant"]


class LocalParticipant(Participant):
    """This client's own place in the room. The object stays the same when the client reconnects; its id changes."""

    def __init__(self, *, id: str, attributes: dict[str, Json], protocol: Protocol) -> None:
        super().__init__(id=id, attributes=attributes)
        self._protocol = protocol
        self._own: dict[str, Json] = {}
        self._sent_later = False

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
            if not self._sent_later:
                raise

    def _rejoined(self, id: str, attributes: dict[str, Json]) -> None:
        """Take over the identity of a new connection; what this side set stays."""
        self.id = id
        self._attributes = {**attributes, **self._own}

    async def _send_own_attributes(self) -> None:
        if self._own:
            await self._protocol.send(names.SET_ATTRIBUTES, envelope.pack(self._own))


class RemoteParticipant(Participant):
    """Somebody else who enabled messaging.

    Attributes:
        role: `user`, `agent`, `tool`, … as their token says.
    """

    def __init__(self, *, id: str, role: str | None = None, attributes: dict[str, Json] | None = None) -> None:
        super().__init__(id=id, attributes=attributes if attributes is not None else {})
        self.role = role if role is not None else "unknown"

    def set_attribute(self, name: str, value: Json) -> NoReturn:
        """Always refused: only a participant itself sets its attributes."""
        raise PermissionDeniedError("the attributes of another participant cannot be set")
