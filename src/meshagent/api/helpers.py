"""Helpers to join a room with the key of the environment or the profile.

The server and the key come from the environment or from the profile; see `meshagent.api.profile`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

from meshagent.api.errors import InvalidRequestError
from meshagent.api.profile import Credentials, api_base_url, find_credentials
from meshagent.api.tokens.token import ParticipantToken

if TYPE_CHECKING:
    from meshagent.api.documents.schema import MeshSchema
    from meshagent.api.room.client import RoomClient
    from meshagent.api.transport.websocket import WebSocketClientProtocol

__all__ = [
    "deploy_schema",
    "meshagent_base_url",
    "participant_token",
    "validate_schema_name",
    "websocket_protocol",
    "websocket_room_url",
]


def validate_schema_name(name: str) -> None:
    """Check that a schema name can be a file extension.

    Raises:
        InvalidRequestError: The name is empty, or contains a dot or a slash.
    """
    if not name or "." in name or "/" in name:
        raise InvalidRequestError(f"a schema name must not be empty or contain a dot or a slash: {name!r}")


async def deploy_schema(*, room: RoomClient, schema: MeshSchema, name: str, overwrite: bool = True) -> None:
    """Store a schema in the room, so that documents whose path ends in `.{name}` follow it.

    Raises:
        InvalidRequestError: The name is not a schema name.
        AlreadyExistsError: The schema exists, and `overwrite` is false.
    """
    validate_schema_name(name)
    text = json.dumps(schema.to_json())
    handle = await room.storage.open(path=f".schemas/{name}.json", overwrite=overwrite)
    await room.storage.write(handle=handle, data=text.encode())
    await room.storage.close(handle=handle)


def meshagent_base_url(base_url: str | None = None) -> str:
    """The server's base URL, without a trailing slash.

    It is `base_url`; else `MESHAGENT_API_URL`; else the server of the profile; else `http://localhost:8080`.
    """
    return base_url.rstrip("/") if base_url else api_base_url()


def websocket_room_url(*, room_name: str, base_url: str | None = None) -> str:
    """The URL to join a room: `ws://HOST/rooms/NAME`, or `wss` if the server uses TLS; the name is quoted."""
    base = meshagent_base_url(base_url)
    scheme, separator, rest = base.partition("://")
    if separator and scheme.lower() in ("http", "https"):
        base = f"ws{scheme[4:].lower()}://{rest}"
    return f"{base}/rooms/{quote(room_name, safe='')}"


def participant_token(*, participant_name: str, room_name: str, role: str | None = None) -> ParticipantToken:
    """An unsigned token for one room, with the ids of the key in the environment or the profile.

    Sign it with the secret of that key: `token.to_jwt(secret=…)`. Or let `websocket_protocol` do both.

    Raises:
        NotFoundError: There is no key in the environment or the profile.
    """
    return _token(find_credentials(), participant_name=participant_name, room_name=room_name, role=role)


def websocket_protocol(*, participant_name: str, room_name: str, role: str | None = None) -> WebSocketClientProtocol:
    """A connection to a room for `RoomClient(protocol=…)`; it connects when it is entered.

    Raises:
        NotFoundError: There is no key in the environment or the profile.
    """
    from meshagent.api.transport.websocket import WebSocketClientProtocol  # tokens alone need no HTTP client

    credentials = find_credentials()
    token = _token(credentials, participant_name=participant_name, room_name=room_name, role=role)
    jwt = token.to_jwt(secret=credentials.secret)
    return WebSocketClientProtocol(url=websocket_room_url(room_name=room_name), token=jwt)


def _token(credentials: Credentials, *, participant_name: str, room_name: str, role: str | None) -> ParticipantToken:
    token = ParticipantToken(name=participant_name, project_id=credentials.project_id, api_key_id=credentials.key_id)
    token.add_room_grant(room_name=room_name, role=role)
    return token
