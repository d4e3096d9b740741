"""A new accounts database in the time that copying it takes.

Most of a server's start with an empty data folder is making the tables. They are the same each time, so the servers of
one test run make them once.
"""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

from sqlalchemy import create_engine

from meshagent.server.accounts.migrations.runner import upgrade_to_head
from meshagent.server.config import ServerConfig
from meshagent.server.stores.disk import make_private_file

__all__ = ["prepare_accounts_database"]


def prepare_accounts_database(config: ServerConfig) -> None:
    """Put a database with empty tables where the server would make one; keep one that is there."""
    path = config.data_dir / "accounts.sqlite"
    if config.database_url is None and not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_private_file(path)
        path.write_bytes(_empty_database())


@lru_cache(maxsize=1)
def _empty_database() -> bytes:
    with tempfile.TemporaryDirectory(prefix="meshagent-") as folder:
        path = Path(folder) / "accounts.sqlite"
        engine = create_engine(f"sqlite:///{path}")
        try:
            with engine.begin() as connection:
                upgrade_to_head(connection)
        finally:
            engine.dispose()
        return path.read_bytes()
