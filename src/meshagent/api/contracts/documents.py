"""`room.*`: structured documents that several participants edit at once (protocol 7)."""

from __future__ import annotations

from typing import Any

import msgspec

from meshagent.api.contracts.content import JsonBody
from meshagent.api.contracts.operation import Empty, Event, Operation


class CreateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Make a document; `json` is its initial content, one key, the root's tag."""

    path: str
    json: dict[str, Any] | None = None


class ConnectRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Subscribe to a document. `vector`, a base64 state vector, asks for only what it lacks."""

    path: str
    create: bool = True
    vector: str | None = None


class ConnectResult(msgspec.Struct, frozen=True, kw_only=True):
    """The document's schema; its state follows as a `room.sync` event."""

    schema: dict[str, Any]


class DisconnectRequest(msgspec.Struct, frozen=True, kw_only=True):
    path: str


class SyncRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One update, both ways; the payload is a Yjs v1 update in base64 text."""

    path: str


class DescribeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The document as JSON; it is not made if it is missing."""

    path: str


CREATE = Operation("room.create", CreateRequest, Empty)
CONNECT = Operation("room.connect", ConnectRequest, ConnectResult)
DISCONNECT = Operation("room.disconnect", DisconnectRequest, Empty)
SYNC = Operation("room.sync", SyncRequest, Empty)
DESCRIBE = Operation("room.describe", DescribeRequest, JsonBody)

UPDATED = Event("room.sync", SyncRequest)
"""A document changed, or is sent whole to who has just subscribed; the payload is as in a `SyncRequest`."""
