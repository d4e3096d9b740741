"""What is in a room: builds the services of each run from the server's stores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from meshagent.server.accounts.rooms import RoomRegistry
from meshagent.server.accounts.sessions import SessionRecorder
from meshagent.server.dispatch.flat.documents import FlatDocuments
from meshagent.server.rooms.connection import ConnectionLimits
from meshagent.server.rooms.room import Room, RoomKey, RoomParts
from meshagent.server.services.developer import DeveloperService
from meshagent.server.services.documents.service import DocumentService
from meshagent.server.services.livekit import LivekitServer, LivekitService
from meshagent.server.services.messaging import MessagingService
from meshagent.server.services.queues import QueuesService
from meshagent.server.services.storage import StorageService
from meshagent.server.stores.documents import DocumentLogStore
from meshagent.server.stores.files import FileStores
from meshagent.server.stores.queues import QueueStore


@dataclass(frozen=True, slots=True)
class RoomServices:
    """The services of one room, for those who reach them by other ways than its connections."""

    messaging: MessagingService
    storage: StorageService
    documents: DocumentService
    queues: QueuesService
    developer: DeveloperService


class FurnishedRoom(Room):
    """A room with its services."""

    services: RoomServices


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomStores:
    """The stores that all rooms of a server share."""

    documents: DocumentLogStore
    queues: QueueStore
    files: FileStores


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomLimits:
    """Bounds of each room; sizes in bytes."""

    connection: ConnectionLimits
    max_connections: int
    max_file_bytes: int
    max_document_bytes: int
    max_queue_messages: int


class RoomFurnisher:
    """Makes rooms.

    Args:
        stores: Where rooms keep what outlives them.
        room_url: The WebSocket URL of a room, as its members get it.
        download_url: A signed URL of a file: room, path, whether to save it.
        limits: Bounds of each room.
        livekit: The LiveKit server, if there is one.
        registry: Knows what each room's data is kept under.
        sessions: Keeps the record of each run.
    """

    def __init__(
        self,
        *,
        stores: RoomStores,
        room_url: Callable[[RoomKey], str],
        download_url: Callable[[RoomKey, str, bool], str],
        limits: RoomLimits,
        livekit: LivekitServer | None,
        registry: RoomRegistry,
        sessions: SessionRecorder,
    ) -> None:
        self._stores = stores
        self._room_url = room_url
        self._download_url = download_url
        self._limits = limits
        self._livekit = livekit
        self._registry = registry
        self._sessions = sessions

    async def make(self, key: RoomKey) -> FurnishedRoom:
        """A room with its services, ready for its first participant."""
        limits = self._limits
        room = FurnishedRoom(
            key, url=self._room_url(key), limits=limits.connection, max_connections=limits.max_connections
        )
        room.storage_name = await self._registry.storage_name(key.project_id, key.room_name)
        files = await self._stores.files.open(key.project_id, room.storage_name)
        session = self._sessions.open(key.project_id, key.room_name, room.session_id)
        developer = DeveloperService(room, session.record)
        messaging = MessagingService(room)
        queues = QueuesService(room, self._stores.queues, max_messages=limits.max_queue_messages)
        livekit = LivekitService(room, self._livekit)
        storage = StorageService(
            room,
            files,
            sign_url=lambda path, download: self._download_url(key, path, download),
            max_file_bytes=limits.max_file_bytes,
        )
        documents = DocumentService(room, self._stores.documents, storage, max_bytes=limits.max_document_bytes)
        storage.watcher = documents
        flat_documents = FlatDocuments(documents)
        room.services = RoomServices(
            messaging=messaging, storage=storage, documents=documents, queues=queues, developer=developer
        )
        serving = (messaging, storage, flat_documents, queues, livekit, developer)
        room.furnish(
            RoomParts(
                served=[operation for service in serving for operation in service.operations()],
                # The order in which the traces of a leaving participant are removed (spec room-protocol 3.6).
                services=(queues, messaging, storage, flat_documents, documents, livekit, developer, session),
                record=developer.record,
            )
        )
        return room
