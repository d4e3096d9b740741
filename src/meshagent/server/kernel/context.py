"""What a service may use of its room."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from meshagent.api.contracts.operation import Event
from meshagent.server.kernel.participant import Participant

DataT = TypeVar("DataT", bound=msgspec.Struct)


PendingDelivery = tuple[Participant, "asyncio.Future[bool]"]
"""A participant that does not have an event yet, and what tells whether it got it."""


class RoomContext(Protocol):
    """The room as its services see it; every method is for the room's event loop only."""

    @property
    def name(self) -> str: ...

    @property
    def project_id(self) -> str: ...

    @property
    def storage_name(self) -> str:
        """What the room's data is kept under: unlike its name it never changes, and no other room ever has it."""
        return self.name

    @property
    def session_id(self) -> str: ...

    @property
    def url(self) -> str:
        """The WebSocket URL of the room, as events and calls carry it."""
        ...

    @property
    def participants(self) -> Mapping[str, Participant]:
        """Who is here now, by participant id, in order of arrival."""
        ...

    def publish(
        self,
        event: Event[DataT],
        data: DataT,
        payload: bytes = b"",
        *,
        to: Iterable[Participant] | None = None,
    ) -> int:
        """Send one event, encoded once, to the given participants, or to all. Returns its message id."""
        ...

    def reply(self, event: Event[DataT], data: DataT, *, to: Participant) -> None:
        """Send an event that the participant asked for; it is paced to the participant's reading."""
        ...

    def offer(
        self, event: Event[DataT], data: DataT, payload: bytes, *, to: Sequence[Participant]
    ) -> Sequence[PendingDelivery]:
        """Send one event whose sender can wait.

        Returns:
            The participants that have too much waiting already, with a future each: True once the event is on its
            way, False if the participant left before.
        """
        ...

    def record(self, entry_type: str, data: Mapping[str, Any]) -> None:
        """Write an entry to the room's log, for watchers and the session record."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run `work` as a task that the room owns: failures are logged, and the room's end cancels it."""
        ...


class RoomService(Protocol):
    """What a room asks of each of its services."""

    def left(self, participant: Participant) -> None:
        """`participant` is gone: release what it held here. Must not raise and must not wait."""
        ...

    async def close(self) -> None:
        """The room ends: finish what was acknowledged, release everything."""
        ...
