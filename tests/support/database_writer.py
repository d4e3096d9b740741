"""A program that inserts rows until it is killed, and prints the id of each that was acknowledged."""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path

from meshagent.api.contracts import database as api
from meshagent.server.stores.tables.settings import MaintenanceSettings
from tests.support.database import open_database


async def write(folder: Path) -> None:
    numbers = itertools.count()
    async with open_database(folder, maintenance=MaintenanceSettings(after_writes=20)) as database:
        await database.ask(api.CREATE_TABLE, name="t", schema={"id": {"type": "int"}, "text": {"type": "text"}})

        async def insert() -> None:
            for number in numbers:
                await database.ask(api.INSERT, table="t", records={"id": number, "text": "x" * 50})
                print(number, flush=True)

        await asyncio.gather(*(insert() for _ in range(4)))


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1])))
