"""What the agents service needs of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from meshagent.api.contracts.agents import RegisteredTool
from meshagent.api.contracts.content import Body
from meshagent.server.kernel.participant import Participant


class BuiltInToolkit(Protocol):
    """A toolkit that every room has."""

    @property
    def title(self) -> str: ...

    @property
    def description(self) -> str: ...

    def tools(self) -> Mapping[str, RegisteredTool]:
        """Its tools by name, as they are now."""
        ...

    async def invoke(self, caller: Participant, tool: str, arguments: Any, payload: bytes) -> Body:
        """Run one of its tools.

        Raises:
            RoomException: The tool refused or failed.
        """
        ...


class CallRouter(Protocol):
    """Invites external services into the room."""

    async def call(self, caller: Participant, name: str, url: str, arguments: Any) -> None:
        """Ask the external service at `url` to join as `name`. Returns when it has accepted.

        Raises:
            NotFoundError: `url` names a built-in target that does not exist.
            RoomException: The external service could not be reached, or refused.
        """
        ...
