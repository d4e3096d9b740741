"""`SingleRoomAgent`, the base class of all agents."""

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
    """Base class of all agents: works in one room, from `start(room=…)` to `stop()`.

    Call both yourself, or let a `ServiceHost` or `rejoin_forever` do it.

    Args:
        name: Name in registrations and logs. Default: the class name.
        title: Display name. Default: `name`.
        description: What the agent does.
        requires: Schemas and toolkits that must be in the room before the agent starts.
        labels: Tags by which programs select agents.
    """

    requirements_timeout: ClassVar[float] = 60.0
    """Seconds that `start` waits for required schemas and toolkits that have to be installed first."""

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
        """The room that the agent works in.

        Raises:
            InvalidStateError: The agent is not started.
        """
        if self._room is None:
            raise InvalidStateError(f"agent {self.name!r} is not started")
        return self._room

    @property
    def is_started(self) -> bool:
        return self._room is not None

    async def start(self, *, room: RoomClient) -> None:
        """Start working in `room`. Overrides call `await super().start(room=room)` first.

        Raises:
            InvalidStateError: The agent is already started.
            RoomException: A requirement could not be installed; see `install_requirements`.
        """
        if self._room is not None:
            raise InvalidStateError(f"agent {self.name!r} is already started")
        self._room = room
        try:
            await self.install_requirements()
        except BaseException:
            self._room = None
            raise

    async def stop(self) -> None:
        """Stop working; the room client stays connected. Overrides call `await super().stop()` last."""
        self._room = None

    async def install_requirements(self) -> None:
        """Install the schemas and toolkits listed in `requires`; called by `start`."""
        await install_requirements(self.room, self.requires, timeout=self.requirements_timeout)

    async def required_toolkits(self, participant_id: str | None) -> list[Toolkit]:
        """Return the toolkits named in `requires`, as visible to `participant_id`.

        A toolkit hosted by that participant takes precedence over a public one of the same name.

        Raises:
            NotFoundError: A toolkit has left the room, or lacks a required tool.
        """
        required = [requirement for requirement in self.requires if isinstance(requirement, RequiredToolkit)]
        if not required:
            return []
        visible = {toolkit.name: toolkit for toolkit in await self.room.agents.list_toolkits(participant_id)}
        return [_find_toolkit(visible, requirement, participant_id) for requirement in required]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


def _find_toolkit(
    visible: dict[str, ToolkitDescription], requirement: RequiredToolkit, participant_id: str | None
) -> RoomToolkit:
    description = visible.get(requirement.name)
    if description is None:
        raise NotFoundError(f"required toolkit {requirement.name!r} is not in this room")
    return RoomToolkit(description, participant_id=participant_id, tools=requirement.tools)
