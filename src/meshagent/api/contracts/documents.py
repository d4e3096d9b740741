"""`room.*`: structured documents for collaborative editing (protocol 7)."""

from __future__ import annotations

from typing import Any

import msgspec

from meshagent.api.contracts.content import JsonBody
from meshagent.api.contracts.operation import Empty, Event, Operation


class CreateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Create a document; `json` is its initial content, with the root tag as its only key."""

    path: str
    json: dict[str, Any] | None = None


class ConnectRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Subscribe to a document. With `vector`, a base64 state vector, only missing updates are sent."""

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
    """The document as JSON; a missing document is not created."""

    path: str


CREATE = Operation("room.create", CreateRequest, Empty)
CONNECT = Operation("room.connect", ConnectRequest, ConnectResult)
DISCONNECT = Operation("room.disconnect", DisconnectRequest, Empty)
SYNC = Operation("room.sync", SyncRequest, Empty)
DESCRIBE = Operation("room.describe", DescribeRequest, JsonBody)

UPDATED = Event("room.sync", SyncRequest)
"""A document has changed, or a new subscriber gets its state; the payload is as in a `SyncRequest`."""
