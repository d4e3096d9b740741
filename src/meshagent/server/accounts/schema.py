"""The tables, as they are after the newest migration.

Times are milliseconds since 1970 in UTC, structured values are JSON text: both mean the same in SQLite and
PostgreSQL. Columns marked `sealed` hold encrypted text (`encryption.SecretBox`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, MetaData, Table, Text, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from meshagent.api import jsontext

metadata: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)


class UtcMilliseconds(TypeDecorator[datetime]):
    """An aware `datetime` in whole milliseconds."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else round(value.timestamp() * 1000)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromtimestamp(value / 1000, UTC)


class JsonText(TypeDecorator[Any]):
    """Any JSON value, as text; None is SQL's null."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else jsontext.dumps(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else jsontext.loads(value)


def _project(*, primary_key: bool = False) -> Column[str]:
    target = ForeignKey("projects.id", ondelete="CASCADE")
    return Column("project_id", Text, target, nullable=False, primary_key=primary_key)


def _encrypted(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, Text, nullable=nullable, info={"encrypted": True})


def _created() -> Column[datetime]:
    return Column("created_at", UtcMilliseconds, nullable=False)


def _identity() -> Column[str]:
    return Column("id", Text, primary_key=True)


projects = Table(
    "projects",
    metadata,
    _identity(),
    Column("name", Text, nullable=False),
    Column("owner_user_id", Text),
    Column("settings", JsonText, nullable=False),
    _created(),
)

users = Table(
    "users",
    metadata,
    _identity(),
    Column("email", Text, nullable=False, unique=True),
    Column("first_name", Text, nullable=False),
    Column("last_name", Text, nullable=False),
    _created(),
)

user_tokens = Table(
    "user_tokens",
    metadata,
    _identity(),
    Column("user_id", Text, ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False, unique=True),  # SHA-256 of the token, which itself is nowhere
    Column("expires_at", UtcMilliseconds),
    _created(),
)

members = Table(
    "members",
    metadata,
    _project(primary_key=True),
    Column("user_id", Text, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True),
    Column("role", Text, nullable=False),
    _created(),
)

api_keys = Table(
    "api_keys",
    metadata,
    _project(primary_key=True),
    _identity(),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    _encrypted("secret"),
    Column("created_by", Text),
    _created(),
    Column("version", BigInteger, nullable=False, server_default="0", index=True),  # the counter at its last change
)

change_counters = Table(
    "change_counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

secrets = Table(
    "secrets",
    metadata,
    _identity(),
    _project(),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    _encrypted("data"),
    _created(),
    UniqueConstraint("project_id", "name"),
)

webhooks = Table(
    "webhooks",
    metadata,
    _identity(),
    _project(),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("events", JsonText, nullable=False),
    Column("action", Text),
    Column("payload", JsonText),
    _encrypted("secret", nullable=True),
    Column("failing_since", UtcMilliseconds),
    Column("disabled_at", UtcMilliseconds),
    Column("disabled_reason", Text),
    _created(),
    Index(None, "project_id", "created_at"),
)

services = Table(
    "services",
    metadata,
    _identity(),
    _project(),
    Column("name", Text, nullable=False),
    _encrypted("definition"),  # its environment often holds passwords
    _created(),
    UniqueConstraint("project_id", "name"),
)

rooms = Table(
    "rooms",
    metadata,
    _identity(),
    _project(),
    Column("name", Text),  # null once the room is deleted, until its data is gone too
    Column("storage_name", Text, nullable=False),  # what its data is kept under; does not change with the name
    _created(),
    UniqueConstraint("project_id", "name"),
    UniqueConstraint("project_id", "storage_name"),
)

sessions = Table(
    "sessions",
    metadata,
    _identity(),
    _project(),
    Column("room_name", Text, nullable=False),
    Column("server", Text, nullable=False),
    _created(),
    Column("ended_at", UtcMilliseconds),
    Column("participants", Integer, nullable=False, server_default="0"),
    Index(None, "project_id", "created_at"),
    Index(None, "created_at"),
)

session_events = Table(
    "session_events",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("session_id", Text, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("at", UtcMilliseconds, nullable=False),
    Column("type", Text, nullable=False),
    Column("data", JsonText, nullable=False),
    Index(None, "session_id", "number"),
)

room_grants = Table(
    "room_grants",
    metadata,
    _identity(),
    _project(),
    Column("room_id", Text, ForeignKey("rooms.id", ondelete="CASCADE"), nullable=False),
    Column("user_id", Text, ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("permissions", JsonText),
    _created(),
    UniqueConstraint("room_id", "user_id"),
)

shares = Table(
    "shares",
    metadata,
    _identity(),
    _project(),
    Column("settings", JsonText, nullable=False),
    _created(),
    Index(None, "project_id", "created_at"),
)

mailboxes = Table(
    "mailboxes",
    metadata,
    Column("address", Text, primary_key=True),
    _project(),
    Column("room", Text, nullable=False),
    Column("queue", Text, nullable=False),
    _created(),
    Index(None, "project_id", "created_at"),
)

server_folders = Table(
    "server_folders",
    metadata,
    Column("folder", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("key_check", Text, nullable=False),  # encrypted, so that it shows which encryption key the server has
    Column("started_at", UtcMilliseconds, nullable=False),
)

model_usage = Table(
    "model_usage",
    metadata,
    _project(primary_key=True),
    Column("day", Text, primary_key=True),  # YYYY-MM-DD in UTC
    Column("room_name", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("participant", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("estimated_requests", BigInteger, nullable=False),
    Column("unpriced_requests", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_input_tokens", BigInteger, nullable=False),  # those of the input that the provider had cached
    Column("output_tokens", BigInteger, nullable=False),
    Column("cost", BigInteger, nullable=False),  # billionths of the currency
    Index(None, "day"),
)
