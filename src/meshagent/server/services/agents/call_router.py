"""Answers `agent.call`: brings services into one room (protocol 9.10)."""

from __future__ import annotations

from typing import Any

from meshagent.api.tokens.scope import ApiScope
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.agents.builtin_targets import BuiltInTargets, SchemaFolder
from meshagent.server.webhooks.room_calls import Invitation, RoomCallSender


class RoomCallRouter:
    """Invites services into a room; what the server has built in is answered here, without a request.

    A service may do no more in the room than whoever invited it.

    Args:
        room: Where to.
        files: The room's files, for schemas.
        targets: What is built in.
        caller: Posts all other calls.
    """

    def __init__(self, room: RoomContext, files: SchemaFolder, targets: BuiltInTargets, caller: RoomCallSender) -> None:
        self._room = room
        self._files = files
        self._targets = targets
        self._caller = caller

    async def call(self, caller: Participant, name: str, url: str, arguments: Any) -> None:
        """Ask the service at `url` to join as `name`; done when it accepted, or when the built-in part is there.

        Raises:
            NotFoundError: `url` names a built-in part on this server that does not exist.
            HttpStatusError: The service refused; the text names URL and status.
            OutgoingRefusedError, UnavailableError, RequestTimeoutError, InvalidRequestError: It was not reached.
        """
        target = self._targets.find(url)
        if target is not None:
            await self._targets.install(target, self._files)
            return
        invitation = Invitation(
            project_id=self._room.project_id,
            room_name=self._room.name,
            room_url=self._room.url,
            name=name,
            scope=_passed_on(caller.scope),
            arguments=arguments,
        )
        await self._caller.call(url, invitation)


def _passed_on(scope: ApiScope) -> ApiScope | None:
    """What of a caller's scope its service gets: no administration; None, a token without limits, if that is all."""
    limited = scope.to_json()
    limited.pop("admin", None)
    return None if limited == ApiScope.room_default().to_json() else ApiScope.from_json(limited)
