"""What is in a room: builds the services of each run from the server's stores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from meshagent.server.dispatch.flat.documents import FlatDocuments
from meshagent.server.rooms.connection import ConnectionLimits
from meshagent.server.rooms.room import Room, RoomKey, RoomParts
from meshagent.server.services.developer import DeveloperService
from meshagent.server.services.documents.service import DocumentService
from meshagent.server.services.messaging import MessagingService
from meshagent.server.services.storage import StorageService
from meshagent.server.stores.documents import DocumentLogStore
from meshagent.server.stores.files import FileStores


@dataclass(frozen=True, slots=True)
class RoomServices:
    """The services of one room, for those who reach them by other ways than its connections."""

    messaging: MessagingService
    storage: StorageService
    documents: DocumentService
    developer: DeveloperService


class FurnishedRoom(Room):
    """A room with its services."""

    services: RoomServices


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomStores:
    """The stores that all rooms of a server share."""

    documents: DocumentLogStore
    files: FileStores


class RoomFurnisher:
    """Makes rooms.

    Args:
        stores: Where rooms keep what outlives them.
        room_url: The WebSocket URL of a room, as its members get it.
        download_url: A signed URL of a file: room, path, whether to save it.
        connection_limits: Bounds of each connection.
        max_connections: Connections of one room.
        max_file_bytes: Size of one file.
    """

    def __init__(
        self,
        *,
        stores: RoomStores,
        room_url: Callable[[RoomKey], str],
        download_url: Callable[[RoomKey, str, bool], str],
        connection_limits: ConnectionLimits,
        max_connections: int,
        max_file_bytes: int,
    ) -> None:
        self._stores = stores
        self._room_url = room_url
        self._download_url = download_url
        self._connection_limits = connection_limits
        self._max_connections = max_connections
        self._max_file_bytes = max_file_bytes

    async def make(self, key: RoomKey) -> FurnishedRoom:
        """A room with its services, ready for its first participant."""
        room = FurnishedRoom(
            key, url=self._room_url(key), limits=self._connection_limits, max_connections=self._max_connections
        )
        developer = DeveloperService(room)
        messaging = MessagingService(room)
        storage = StorageService(
            room,
            await self._stores.files.open(key.project_id, key.room_name),
            sign_url=lambda path, download: self._download_url(key, path, download),
            max_file_bytes=self._max_file_bytes,
        )
        documents = DocumentService(room, self._stores.documents, storage)
        storage.watcher = documents
        flat_documents = FlatDocuments(documents)
        room.services = RoomServices(messaging=messaging, storage=storage, documents=documents, developer=developer)
        # The order in which the traces of a leaving participant are removed (spec room-protocol 3.6).
        services = (messaging, storage, flat_documents, documents, developer)
        room.furnish(
            RoomParts(
                served=[
                    *messaging.operations(),
                    *storage.operations(),
                    *flat_documents.operations(),
                    *developer.operations(),
                ],
                services=services,
                record=developer.record,
            )
        )
        return room
