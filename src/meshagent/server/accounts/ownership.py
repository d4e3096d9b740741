"""Which servers an accounts database belongs to: those that have its encryption key.

A server with another key can read no secret in the database, and what it wrote there could not be read by the others.
So the key is compared before anything is written, and each server leaves a note of its data folder, which names the
right one to whoever starts a wrong one.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, delete, inspect, select
from sqlalchemy.engine import Row

from meshagent.server.accounts import schema
from meshagent.server.accounts.encryption import DecryptionError, SecretBox

_FOLDERS: Final = schema.server_folders
_KEYS: Final = schema.api_keys
_CHECKED_TEXT: Final = "openmeshagent accounts"


class ForeignDatabaseError(OSError):
    """The database belongs to a server with another data folder. The text names it and says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFolder:
    """The data folder of one server.

    Attributes:
        path: The folder.
        project_id: The server's default project, which `server.json` in the folder also names.
    """

    path: Path
    project_id: str

    @property
    def absolute(self) -> str:
        """The path as it is stored and shown: absolute, without symbolic links."""
        return str(self.path.resolve())


def check_ownership(connection: Connection, box: SecretBox, folder: ServerFolder) -> None:
    """Read whether the database is new or belongs to a server with this encryption key; writes nothing.

    It reads databases of all earlier releases: call it before the migrations.

    Raises:
        ForeignDatabaseError: It belongs to a server with another key.
    """
    tables = set(inspect(connection).get_table_names())
    owner: str | None = None
    if _FOLDERS.name in tables:
        newest_first = select(_FOLDERS).order_by(_FOLDERS.c.started_at.desc())
        rows = connection.execute(newest_first).all()
        if any(_opens(box, row.key_check) for row in rows):
            return
        owner = _described(rows[0], folder) if rows else None
    if owner is None and _KEYS.name in tables:
        stored = connection.execute(select(_KEYS.c.project_id, _KEYS.c.secret).order_by(_KEYS.c.created_at)).all()
        foreign = [row.project_id for row in stored if not _opens(box, row.secret)]
        if foreign:
            owner = f"the data folder whose server.json has the project_id {foreign[0]}"
    if owner is not None:
        raise ForeignDatabaseError(
            f"it belongs to the server with {owner}, and the encryption key of the data folder {folder.absolute} is a"
            " different one. Nothing was written. Start the server with that data folder (data_dir), or give this one"
            " a database of its own (database_url). Servers that share a database need the same encryption_key"
        )


def record_ownership(connection: Connection, box: SecretBox, folder: ServerFolder) -> None:
    """Note that the server with this folder uses the database; call it after the migrations."""
    connection.execute(delete(_FOLDERS).where(_FOLDERS.c.folder == folder.absolute))
    connection.execute(
        _FOLDERS.insert().values(
            folder=folder.absolute,
            host=socket.gethostname(),
            project_id=folder.project_id,
            key_check=box.encrypt(_CHECKED_TEXT),
            started_at=datetime.now(UTC),
        )
    )


def _opens(box: SecretBox, encrypted: str) -> bool:
    try:
        box.decrypt(encrypted)
    except DecryptionError:
        return False
    return True


def _described(row: Row[tuple[object, ...]], ours: ServerFolder) -> str:
    """The data folder of a note; its project id too, as two machines or containers may have the same path."""
    path = "the same path" if row.folder == ours.absolute else str(row.folder)
    return f"the data folder {path} on the host {row.host} (its server.json has the project_id {row.project_id})"
