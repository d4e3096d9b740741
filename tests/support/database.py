"""A room database without a room: operations called by their declarations, through JSON as on the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from meshagent.api import jsontext
from meshagent.api.contracts.content import Body
from meshagent.api.contracts.operation import Operation
from meshagent.api.tokens.scope import FULL_ROOM_SCOPE
from meshagent.server.engines.local import LocalTableStore
from meshagent.server.kernel.participant import Outbox, Participant
from meshagent.server.services.database import DatabaseService
from meshagent.server.stores.disk import Disk
from meshagent.server.stores.health import HealthMonitor
from meshagent.server.stores.paths import room_folder
from meshagent.server.stores.tables.settings import MaintenanceSettings
from meshagent.server.stores.tables.table_engine import TableEngine

RequestT = TypeVar("RequestT", bound=msgspec.Struct)
ResultT = TypeVar("ResultT", bound="msgspec.Struct | Body")

CALLER = Participant(
    participant_id="caller", name="caller", role="user", scope=FULL_ROOM_SCOPE, outbox=cast(Outbox, None)
)


class RoomDatabase:
    """A `DatabaseService` and two ways to call it.

    Attributes:
        tables: The port that the service calls.
        engine: What is behind the port.
    """

    def __init__(self, store: LocalTableStore, project_id: str = "project", room_name: str = "room") -> None:
        self.tables = store.room(project_id, room_name)
        self.engine = store.host.room(str(room_folder(project_id, room_name)))
        self.service = service = DatabaseService(self.tables)
        self._served = {entry.operation.name: entry for entry in service.operations()}

    async def ask(self, operation: Operation[Any, Any], **fields: Any) -> Any:
        """Call with the request as a client writes it, and return the result as a client reads it."""
        served = self._served[operation.name]
        request = jsontext.decode(jsontext.dumps(fields), served.operation.request)
        result = await served.handler(CALLER, request, b"")
        return jsontext.loads(jsontext.dumps(result))

    async def call(
        self, operation: Operation[RequestT, ResultT], request: RequestT, payload: bytes = b"", /
    ) -> ResultT:
        """What `DatabaseClient` needs of a room."""
        answer = await self.ask(operation, **jsontext.loads(jsontext.dumps(request)))
        return jsontext.convert(answer, operation.result)

    async def rows(self, table: str, **fields: Any) -> list[dict[str, Any]]:
        """The results of a search."""
        from meshagent.api.contracts import database as api

        found = await self.ask(api.SEARCH, table=table, **fields)
        return cast(list[dict[str, Any]], found["results"])


@asynccontextmanager
async def open_database(
    folder: Path,
    *,
    disk: Disk | None = None,
    health: HealthMonitor | None = None,
    maintenance: MaintenanceSettings | None = None,
    **limits: Any,
) -> AsyncIterator[RoomDatabase]:
    """The database of one room below `folder`, closed at the end. Without a `disk` nothing is synced."""
    from meshagent.server.stores.tables.settings import DatabaseLimits

    engine = TableEngine(
        folder, durability="process", disk=disk, health=health, maintenance=maintenance, limits=DatabaseLimits(**limits)
    )
    database = RoomDatabase(LocalTableStore(engine, health))
    try:
        yield database
    finally:
        await database.service.close()
