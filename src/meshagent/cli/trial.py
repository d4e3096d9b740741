"""Trying a service in a room without making it one of the project's."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshagent.cli.context import DEFAULT_NAME, RoomTarget, named_room, signing_key

if TYPE_CHECKING:
    from meshagent.api.accounts_client import Service


@asynccontextmanager
async def trial_target(target: RoomTarget, service: Service, max_runtime: int | None) -> AsyncIterator[RoomTarget]:
    """The target with a token that makes the room run the service, too (spec room-protocol 4.5)."""
    from meshagent.api.profile import write_private
    from meshagent.api.tokens.token import ParticipantToken

    key = await signing_key(target)
    claims: dict[str, Any] = {"meshagent_dev_services": [service.model_dump(mode="json", exclude_none=True)]}
    if max_runtime is not None:
        claims["max_runtime_seconds"] = max_runtime
    token = ParticipantToken(
        name=target.name or DEFAULT_NAME, project_id=key.project_id, api_key_id=key.key_id, extra_payload=claims
    )
    token.add_room_grant(room_name=named_room(target), role=target.role)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "token")
        write_private(path, token.to_jwt(secret=key.secret))
        yield replace(target, token_path=path)
