"""Rooms, their grants, shares and sessions: part of `AccountsClient`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from meshagent.api.accounts.rest import Json, RestClient, path_of
from meshagent.api.tokens.scope import ApiScope


class RoomMethods(RestClient):
    """Rooms, grants, shares, participant tokens, sessions."""

    # Rooms

    async def create_room(self, *, project_id: str, name: str, if_not_exists: bool = False) -> Json:
        """Create a room: `id`, `name`."""
        return await self._call("POST", _of(project_id, "rooms"), {"name": name, "if_not_exists": if_not_exists})

    async def list_rooms(self, *, project_id: str, limit: int | None = None, offset: int | None = None) -> Json:
        """`rooms` of the project; `is_active` ones run now."""
        return await self._call("GET", _of(project_id, "rooms"), query={"limit": limit, "offset": offset})

    async def get_room(self, *, project_id: str, name: str) -> Json:
        """A room by its name."""
        return await self._call("GET", _of(project_id, "rooms", name))

    async def update_room(self, *, project_id: str, room_id: str, name: str) -> Json:
        """Rename a room. It keeps its data; its participants are disconnected."""
        return await self._call("PUT", _of(project_id, "rooms", room_id), {"name": name})

    async def delete_room(self, *, project_id: str, room_id: str) -> None:
        """Delete a room with its data."""
        await self._call("DELETE", _of(project_id, "rooms", room_id))

    async def connect_room(self, *, project_id: str, room_name: str) -> Json:
        """`jwt` and `room_url` to join a room with, as the caller."""
        return await self._call("POST", _of(project_id, "rooms", room_name, "connect"))

    # Room grants

    async def create_room_grant(
        self, *, project_id: str, room_id: str, user_id: str, permissions: ApiScope | None = None
    ) -> Json:
        """Allow a member of the project to join a room, by default with all permissions."""
        body = {"room_id": room_id, "user_id": user_id, "permissions": _permissions(permissions)}
        return await self._call("POST", _of(project_id, "room-grants"), body)

    async def update_room_grant(self, *, project_id: str, grant_id: str, permissions: ApiScope | None = None) -> None:
        """Change what a grant allows."""
        body = {"permissions": _permissions(permissions)}
        await self._call("PUT", _of(project_id, "room-grants", grant_id), body)

    async def get_room_grant(self, *, project_id: str, grant_id: str) -> Json:
        """A grant."""
        return await self._call("GET", _of(project_id, "room-grants", grant_id))

    async def list_room_grants(self, *, project_id: str, limit: int | None = None, offset: int | None = None) -> Json:
        """`room_grants` of the project."""
        return await self._call("GET", _of(project_id, "room-grants"), query={"limit": limit, "offset": offset})

    async def list_room_grants_by_user(
        self, *, project_id: str, user_id: str, limit: int | None = None, offset: int | None = None
    ) -> Json:
        """`room_grants` of a user."""
        path = _of(project_id, "room-grants", "by-user", user_id)
        return await self._call("GET", path, query={"limit": limit, "offset": offset})

    async def list_room_grants_by_room(
        self, *, project_id: str, room_id: str, limit: int | None = None, offset: int | None = None
    ) -> Json:
        """`room_grants` for a room."""
        path = _of(project_id, "room-grants", "by-room", room_id)
        return await self._call("GET", path, query={"limit": limit, "offset": offset})

    async def delete_room_grant(self, *, project_id: str, grant_id: str) -> None:
        """Delete a grant."""
        await self._call("DELETE", _of(project_id, "room-grants", grant_id))

    # Tokens and shares

    async def create_project_participant_token(
        self,
        project_id: str,
        room_name: str,
        *,
        name: str | None = None,
        role: str | None = None,
        scope: ApiScope | None = None,
    ) -> Json:
        """Create a participant token (a JWT) for a room, returned as `token`."""
        body = {"room_name": room_name, "name": name, "role": role, "api": _permissions(scope)}
        return await self._call("POST", _of(project_id, "participant-tokens"), body)

    async def create_share(self, project_id: str, settings: Json = None) -> Json:
        """Create a share, a link to join a room: `id`.

        Settings: `room_name`, `participant_name`, `role`, `api`, `expires_at`.
        """
        return await self._call("POST", _of(project_id, "shares"), {"settings": settings})

    async def update_share(self, project_id: str, share_id: str, settings: Json = None) -> None:
        """Change the settings of a share."""
        await self._call("PUT", _of(project_id, "shares", share_id), {"settings": settings})

    async def delete_share(self, project_id: str, share_id: str) -> None:
        """Delete a share."""
        await self._call("DELETE", _of(project_id, "shares", share_id))

    async def list_shares(self, project_id: str, *, limit: int | None = None, offset: int | None = None) -> Json:
        """`shares` of the project."""
        return await self._call("GET", _of(project_id, "shares"), query={"limit": limit, "offset": offset})

    async def connect_share(self, share_id: str) -> Json:
        """`jwt` and `room_url` of the room that a link leads to; needs no token."""
        return await self._call("POST", path_of("shares", share_id, "connect"), {})

    # Sessions and usage

    async def list_recent_sessions(
        self, project_id: str, *, limit: int | None = None, offset: int | None = None
    ) -> Json:
        """`sessions`, newest first; `is_active` ones run now."""
        return await self._call("GET", _of(project_id, "sessions"), query={"limit": limit, "offset": offset})

    async def get_session(self, project_id: str, session_id: str) -> Json:
        """`id`, `room_name`, `created_at` and more of a run of a room."""
        return await self._call("GET", _of(project_id, "sessions", session_id))

    async def list_session_events(
        self, project_id: str, session_id: str, *, limit: int | None = None, offset: int | None = None
    ) -> Json:
        """`events` of a session in order: `type`, `data`, `at`."""
        path = _of(project_id, "sessions", session_id, "events")
        return await self._call("GET", path, query={"limit": limit, "offset": offset})

    async def terminate_session(self, *, project_id: str, session_id: str) -> None:
        """End a session, and disconnect all participants."""
        await self._call("POST", _of(project_id, "sessions", session_id, "terminate"))

    async def list_session_participants(self, *, project_id: str, session_id: str) -> Json:
        """`participants` who are in the room now: `id`, `name`, `role`."""
        return await self._call("GET", _of(project_id, "sessions", session_id, "participants"))

    async def kick_participant(self, *, project_id: str, session_id: str, participant_id: str) -> None:
        """Disconnect a participant. Its token stays valid."""
        await self._call("DELETE", _of(project_id, "sessions", session_id, "participants", participant_id))

    async def get_usage(self, project_id: str) -> list[dict[str, Any]]:
        """For each room: `sessions`, `participants`, `seconds`."""
        usage: list[dict[str, Any]] = (await self._call("GET", _of(project_id, "usage")))["usage"]
        return usage

    async def get_model_usage(
        self,
        project_id: str,
        *,
        start: date | None = None,
        end: date | None = None,
        by: Sequence[str] = ("day", "model"),
        limit: int | None = None,
        offset: int | None = None,
    ) -> Json:
        """What a project's participants used of the language models.

        Args:
            project_id: The project.
            start: First day, in UTC. Default: 29 days before `end`.
            end: Last day. Default: today.
            by: How to group: `day`, `room`, `participant`, `model`; with nothing, `usage` is one sum.
            limit: Most rows.
            offset: Rows to skip.

        Returns:
            `usage`, rows with `requests`, `input_tokens`, `cached_input_tokens`, `output_tokens`, `cost` (without
            `unpriced_requests`) and `estimated_requests`, those whose tokens the provider did not tell; `today` and
            `month`, the same for all of the project; `budget`, what it may use; `next_offset` where there is more.
        """
        query = {
            "start": None if start is None else start.isoformat(),
            "end": None if end is None else end.isoformat(),
            "by": ",".join(by),
            "limit": limit,
            "offset": offset,
        }
        return await self._call("GET", _of(project_id, "model-usage"), query=query)


def _of(project_id: str, *parts: str) -> str:
    return path_of("accounts", "projects", project_id, *parts)


def _permissions(scope: ApiScope | None) -> Json:
    return None if scope is None else scope.to_json()
