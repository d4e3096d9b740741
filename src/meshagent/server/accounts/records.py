"""What is kept: one frozen record per row."""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


def new_id() -> str:
    """A fresh id; UUIDs everywhere, so that keys also fit into one line (`MESHAGENT_API_KEY`)."""
    return str(uuid.uuid4())


def now() -> datetime:
    """The time, in UTC and whole milliseconds, as it is kept."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A row of a table; the fields are its columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project(Record):
    id: str = field(default_factory=new_id)
    name: str
    owner_user_id: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    created_at: datetime = field(default_factory=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Record):
    id: str = field(default_factory=new_id)
    email: str
    first_name: str = ""
    last_name: str = ""
    created_at: datetime = field(default_factory=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserToken(Record):
    """A user's bearer token; only its digest is kept."""

    id: str = field(default_factory=new_id)
    user_id: str
    name: str = ""
    digest: str = field(repr=False)
    expires_at: datetime | None = None
    created_at: datetime = field(default_factory=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member(Record):
    """A user's role in a project: `member`, `developer` or `admin`."""

    project_id: str
    user_id: str
    role: str
    created_at: datetime = field(default_factory=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey(Record):
    """Signs participant tokens; `id` is their `kid`. `version` is the number of its last change, set when stored."""

    id: str = field(default_factory=new_id)
    project_id: str
    name: str
    description: str = ""
    secret: str = field(repr=False)
    created_by: str | None = None
    created_at: datetime = field(default_factory=now)
    version: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret(Record):
    """`type` is `docker` or `keys`; `data` is what its kind needs."""

    id: str = field(default_factory=new_id)
    project_id: str
    name: str
    type: str
    data: dict[str, Any] = field(repr=False)
    created_at: datetime = field(default_factory=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook(Record):
    """A subscription; `secret` signs its deliveries, None is the server's webhook secret.

    `failing_since` is the first failed attempt since the last success; `disabled_at` is when its deliveries ended.
    """

    id: str = field(default_factory=new_id)
    project_id: str
    name: str
    description: str = ""
    url: str
    events: list[str]
    action: str | None = None
    payload: Any = None
    secret: str | None = field(default=None, repr=False)
    failing_since: datetime | None = None
    disabled_at: datetime | None = None
    disabled_reason: str | None = None
    created_at: datetime = field(default_factory=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service(Record):
    """`definition` is the JSON form of `meshagent.api.accounts_client.Service`, without id and creation time."""

    id: str = field(default_factory=new_id)
    project_id: str
    name: str
    definition: dict[str, Any] = field(repr=False)
    created_at: datetime = field(default_factory=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomRecord(Record):
    """`name` is None for a deleted room whose data is still to be removed."""

    id: str = field(default_factory=new_id)
    project_id: str
    name: str | None
    storage_name: str
    created_at: datetime = field(default_factory=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session(Record):
    """One run of a room."""

    id: str
    project_id: str
    room_name: str
    server: str
    created_at: datetime = field(default_factory=now)
    ended_at: datetime | None = None
    participants: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEvent(Record):
    session_id: str
    at: datetime = field(default_factory=now)
    type: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomGrant(Record):
    """What a user may do in a room; `permissions` is the JSON form of an `ApiScope`, None is everything."""

    id: str = field(default_factory=new_id)
    project_id: str
    room_id: str
    user_id: str
    permissions: dict[str, Any] | None = None
    created_at: datetime = field(default_factory=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share(Record):
    """A link that lets an outsider into a room; its id is the secret part of the link."""

    id: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    project_id: str
    settings: dict[str, Any]
    created_at: datetime = field(default_factory=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox(Record):
    """Mail to `address` goes into a queue of a room."""

    address: str
    project_id: str
    room: str
    queue: str
    created_at: datetime = field(default_factory=now)
