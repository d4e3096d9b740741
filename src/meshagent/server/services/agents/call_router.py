"""Answers `agent.call`: invites external services into a room (protocol 9.10)."""

from __future__ import annotations

from typing import Any

from meshagent.api.tokens.scope import ApiScope
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.agents.builtin_targets import BuiltInTargets, SchemaFolder
from meshagent.server.webhooks.room_calls import Invitation, RoomCallSender


class RoomCallRouter:
    """Invites external services into a room, and installs built-in targets without a request.

    An external service may do no more in the room than the participant that invited it.

    Args:
        room: The room.
        files: The room's files, for schemas.
        targets: Recognises built-in targets.
        caller: Posts all other calls.
    """

    def __init__(self, room: RoomContext, files: SchemaFolder, targets: BuiltInTargets, caller: RoomCallSender) -> None:
        self._room = room
        self._files = files
        self._targets = targets
        self._caller = caller

    async def call(self, caller: Participant, name: str, url: str, arguments: Any) -> None:
        """Ask the external service at `url` to join as `name`. Returns when it has, or the target is installed.

        Raises:
            NotFoundError: `url` names a built-in target that does not exist.
            HttpStatusError: The external service refused; the text names URL and status.
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
            scope=_delegated_scope(caller.scope),
            arguments=arguments,
        )
        await self._caller.call(url, invitation)


def _delegated_scope(scope: ApiScope) -> ApiScope | None:
    """The inviter's scope without administration; None, a token without limits, if that is the default scope."""
    limited = scope.to_json()
    limited.pop("admin", None)
    return None if limited == ApiScope.room_default().to_json() else ApiScope.from_json(limited)
