"""Brings the database to the newest schema."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, text

_LOCK_NUMBER: Final = 5_702_011_977  # any number that nobody else uses


def upgrade_to_head(connection: Connection) -> None:
    """Run the missing migrations within the transaction of `connection`; one server at a time does so.

    Raises:
        OSError: The database was written by a newer server.
    """
    upgrade(connection, "head")


def upgrade(connection: Connection, revision: str) -> None:
    """Run the migrations up to `revision`; errors as above."""
    lock_database(connection)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, revision)
    except CommandError as error:
        raise OSError(f"its schema is not one that this version knows ({error})") from error


def lock_database(connection: Connection) -> None:
    """Hold off other servers that start on the database until the transaction of `connection` ends; writes nothing."""
    if connection.dialect.name == "postgresql":  # in SQLite the transaction itself does
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK_NUMBER})
