"""A participant: a person or program that is in a room through one connection."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from meshagent.api.contracts.messaging import Presence
from meshagent.api.tokens.scope import ApiScope


class Outbox(Protocol):
    """The queue of encoded messages for one participant. It is bounded, and adding to it never waits."""

    def deliver(self, frames: bytes) -> None:
        """Queue encoded frames; never waits. A participant for whom too much is queued is disconnected."""
        ...

    def offer(self, frames: bytes) -> asyncio.Future[bool] | None:
        """Queue frames that their sender can wait with.

        Returns:
            None if they are queued; else a future: True once they are queued, False if the participant left first.
        """
        self.deliver(frames)
        return None

    def reply(self, frames: bytes) -> None:
        """Queue frames that the participant asked for, whatever their size; they are sent as fast as it reads."""
        self.deliver(frames)

    def relay(self, frames: bytes) -> asyncio.Future[None] | None:
        """Queue an item of a stream that the participant opened to another one.

        Returns:
            None, or what is done when the other may send more; the participant is cut off if that takes too long.
        """
        self.reply(frames)
        return None

    def read_after(self, ready: asyncio.Future[None]) -> None:
        """Read nothing more of the participant until `ready` is done."""
        return

    def position(self) -> int:
        """Bytes that were delivered so far, kept ones included."""
        return 0

    def surely_missed(self, position: int) -> bool:
        """Whether the participant, who is gone, certainly never got what ended at `position`."""
        return False

    def seems_present(self) -> bool:
        """Whether the participant's program seems to be there, judged by what was heard of it lately."""
        return True

    @property
    def is_full(self) -> bool:
        """Whether so much waits for the participant that senders should wait or give up."""
        return False

    async def sent(self) -> bool:
        """Wait until everything delivered has left this process; False if the connection ended before that."""
        ...

    def disconnect(self, code: int, reason: str) -> None:
        """Close the connection after sending what is queued."""
        ...


class Participant:
    """One member of a room, for as long as its connection lasts.

    Attributes:
        id: Unique in this server run; two connections with one token are two participants.
        name: From the token; attribute `name` always equals it.
        role: `user`, `agent`, `tool`, or other text from the token.
        attributes: What others see; changed by the participant itself.
        attribute_bytes: The most that their JSON text can have.
        scope: What its token allows.
        key_id: The key that signed its token; None is the server's default secret.
    """

    __slots__ = (
        "attribute_bytes",
        "attributes",
        "id",
        "key_id",
        "messaging_enabled",
        "name",
        "outbox",
        "project_id",
        "role",
        "scope",
    )

    def __init__(
        self,
        *,
        participant_id: str,
        name: str,
        role: str,
        scope: ApiScope,
        outbox: Outbox,
        project_id: str = "",
        key_id: str | None = None,
    ) -> None:
        self.id = participant_id
        self.name = name
        self.role = role
        self.scope = scope
        self.outbox = outbox
        self.project_id = project_id
        self.key_id = key_id
        self.attribute_bytes = 0
        self.attributes: dict[str, Any] = {"name": name}
        self.messaging_enabled = False

    @property
    def is_user(self) -> bool:
        """Whether this is a person. People keep a room open; agents and tools do not."""
        return self.role == "user"

    def presence(self) -> Presence:
        """What other participants see of it now."""
        return Presence(id=self.id, role=self.role, attributes=dict(self.attributes))

    def __repr__(self) -> str:
        return f"<Participant {self.name!r} {self.role} {self.id}>"
