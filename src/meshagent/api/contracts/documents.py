"""`room.*`: structured documents for collaborative editing (protocol 7)."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from meshagent.api.contracts.content import JsonBody
from meshagent.api.contracts.operation import Empty, Event, Operation


class CreateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Create a document; `json` is its initial content, with the root tag as its only key."""

    path: str
    json: dict[str, Any] | None = None


class ConnectRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Subscribe to a document. With `vector`, a base64 state vector, only missing updates are sent.

    With `track` the answer tells which life of the document it is, and `room.ended` follows when that ends. `life` is
    the one that a client has a copy of.
    """

    path: str
    create: bool = True
    vector: str | None = None
    track: bool = False
    life: str | None = None


class ConnectResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The document's schema; its state follows as a `room.sync` event.

    The other fields are for clients that asked with `track`. With `ended` there is no subscription and no state.

    Attributes:
        life: Identifies the life of the document.
        vector: State vector of the room's copy, base64.
        read_only: Whether the client's edits are refused.
        ended: What became of the life that the client asked for: `deleted`, `replaced` or `moved`.
        new_path: Where it was moved.
    """

    schema: dict[str, Any]
    life: str | None = None
    vector: str | None = None
    read_only: bool = False
    ended: Literal["deleted", "replaced", "moved"] | None = None
    new_path: str | None = None


class EndedNotice(msgspec.Struct, frozen=True, kw_only=True):
    """A document that the client tracks has ended, and with it the subscription."""

    path: str
    change: Literal["deleted", "replaced", "moved"]
    new_path: str | None = None


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

ENDED = Event("room.ended", EndedNotice)
