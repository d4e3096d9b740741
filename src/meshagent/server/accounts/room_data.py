"""What rooms keep outside the accounts database, removed in one go."""

from __future__ import annotations

from meshagent.server.stores.documents import DocumentLogStore
from meshagent.server.stores.files import FileStores
from meshagent.server.stores.queues import QueueStore
from meshagent.server.stores.tables.table_store import TableStore


class StoredRoomData:
    """Implements `RoomData`: documents, queues, files and tables of rooms."""

    def __init__(self, documents: DocumentLogStore, queues: QueueStore, files: FileStores, tables: TableStore) -> None:
        self._documents = documents
        self._queues = queues
        self._files = files
        self._tables = tables

    async def delete(self, project_id: str, storage_name: str) -> None:
        key = f"{project_id}/{storage_name}"
        await self._documents.delete_room(key)
        await self._queues.delete_room(key)
        await self._files.delete_room(project_id, storage_name)
        await self._tables.delete_room(project_id, storage_name)
