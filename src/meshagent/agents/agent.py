"""`SingleRoomAgent`: what works in one room, from `start` to `stop`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from meshagent.agents.requirements import install_requirements
from meshagent.api.errors import InvalidStateError, NotFoundError
from meshagent.api.room.descriptions import RequiredToolkit, Requirement, ToolkitDescription
from meshagent.tools.room_toolkit import RoomToolkit
from meshagent.tools.toolkit import Toolkit

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["SingleRoomAgent"]


class SingleRoomAgent:
    """Base of all agents. Its life in a room is `start(room=…)`, work, `stop()`; `ServiceHost` leads it.

    Args:
        name: What it is called in registrations and logs; the class's name by default.
        title: For people; the name by default.
        description: What it does.
        requires: Schemas and toolkits that must be in the room before it works.
        labels: Words by which programs pick agents.
    """

    requirements_timeout: ClassVar[float] = 60.0
    """Seconds that `start` waits for required schemas and toolkits that had to be called in."""

    def __init__(
        self,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        requires: Sequence[Requirement] = (),
        labels: Sequence[str] = (),
    ) -> None:
        self.name = name if name is not None else type(self).__name__
        self.title = title if title is not None else self.name
        self.description = description if description is not None else ""
        self.requires = list(requires)
        self.labels = list(labels)
        self._room: RoomClient | None = None

    @property
    def room(self) -> RoomClient:
        """The room that it works in; InvalidStateError while it is not started."""
        if self._room is None:
            raise InvalidStateError(f"the agent {self.name!r} is not started")
        return self._room

    @property
    def is_started(self) -> bool:
        return self._room is not None

    async def start(self, *, room: RoomClient) -> None:
        """Begin to work in `room`. Subclasses extend it: first `await super().start(room=room)`.

        Raises:
            InvalidStateError: It is started already.
            RoomException: A requirement could not be brought; see `install_requirements`.
        """
        if self._room is not None:
            raise InvalidStateError(f"the agent {self.name!r} is started already")
        self._room = room
        try:
            await self.install_requirements()
        except BaseException:
            self._room = None
            raise

    async def stop(self) -> None:
        """Stop working; the room stays joined. Subclasses extend it: at the end `await super().stop()`."""
        self._room = None

    async def install_requirements(self) -> None:
        """Bring what `requires` lists; part of `start`."""
        await install_requirements(self.room, self.requires, timeout=self.requirements_timeout)

    async def required_toolkits(self, participant_id: str | None) -> list[Toolkit]:
        """The toolkits that `requires` names, as `participant_id` sees them: that participant's own come first.

        Raises:
            NotFoundError: One is not in the room any more, or lacks a required tool.
        """
        wanted = [requirement for requirement in self.requires if isinstance(requirement, RequiredToolkit)]
        if not wanted:
            return []
        visible = {toolkit.name: toolkit for toolkit in await self.room.agents.list_toolkits(participant_id)}
        return [_as_toolkit(visible, requirement, participant_id) for requirement in wanted]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


def _as_toolkit(
    visible: dict[str, ToolkitDescription], requirement: RequiredToolkit, participant_id: str | None
) -> RoomToolkit:
    description = visible.get(requirement.name)
    if description is None:
        raise NotFoundError(f"the required toolkit {requirement.name!r} is not in this room")
    return RoomToolkit(description, participant_id=participant_id, tools=requirement.tools)
