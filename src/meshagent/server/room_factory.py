"""What is in a room: builds the services of each run from the server's stores."""

from __future__ import annotations

from dataclasses import dataclass

from meshagent.server.accounts.room_registry import RoomRegistry
from meshagent.server.accounts.sessions import SessionRecorder
from meshagent.server.addresses import Addresses
from meshagent.server.demo import DemoRoom
from meshagent.server.dispatch.flat.documents import FlatDocuments
from meshagent.server.dispatch.flat.host_link import FlatHostAnswers, FlatHostLink
from meshagent.server.dispatch.host_answers import HostAnswers
from meshagent.server.dispatch.invoke.dialect import InvokeDialect
from meshagent.server.dispatch.invoke.host_link import InvokeHostLink
from meshagent.server.dispatch.invoke.room_toolkits import room_toolkits
from meshagent.server.dispatch.invoke.toolkits import ToolkitRequests
from meshagent.server.integrations import Integrations, RoomIntegrations
from meshagent.server.kernel.dispatcher import OperationTable
from meshagent.server.kernel.room_key import RoomKey
from meshagent.server.kernel.room_log import RoomLog
from meshagent.server.kernel.url_signing import UrlSigner
from meshagent.server.rooms.connection import ConnectionLimits
from meshagent.server.rooms.room import Room, RoomParts
from meshagent.server.services.agents.service import AgentsService
from meshagent.server.services.agents.tool_calls import ToolCalls
from meshagent.server.services.database import DatabaseService
from meshagent.server.services.dataset.service import DatasetService
from meshagent.server.services.developer import DeveloperService
from meshagent.server.services.documents.service import DocumentsService
from meshagent.server.services.external_services import ExternalServicesService
from meshagent.server.services.file_observers import FileObservers
from meshagent.server.services.livekit import LivekitServer, LivekitService
from meshagent.server.services.messaging import MessagingService
from meshagent.server.services.queues import QueuesService
from meshagent.server.services.sql.service import SqlService
from meshagent.server.services.storage import StorageService
from meshagent.server.stores.documents import DocumentLogStore
from meshagent.server.stores.files import FileStores
from meshagent.server.stores.queues import QueueStore
from meshagent.server.stores.tables.table_engine import TableEngine
from meshagent.server.webhooks.ports import ExternalServiceSource


@dataclass(frozen=True, slots=True)
class RoomServices:
    """The services of one room, for those who reach them by other ways than its connections."""

    messaging: MessagingService
    storage: StorageService
    documents: DocumentsService
    queues: QueuesService
    agents: AgentsService
    database: DatabaseService
    developer: DeveloperService


class RoomWithServices(Room):
    """A room with its services."""

    services: RoomServices


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomStores:
    """The stores that all rooms of a server share."""

    documents: DocumentLogStore
    queues: QueueStore
    files: FileStores
    tables: TableEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomLimits:
    """Bounds of each room; sizes in bytes."""

    connection: ConnectionLimits
    max_connections: int
    max_file_bytes: int
    max_document_bytes: int
    max_queue_messages: int


class RoomFactory:
    """Makes rooms.

    Args:
        stores: Where rooms keep what outlives them.
        addresses: The server's URLs.
        signer: Signs URLs of files.
        limits: Bounds of each room.
        livekit: The LiveKit server, if there is one.
        registry: Knows what each room's data is kept under.
        sessions: Keeps the record of each run.
        integrations: Tells webhooks, and calls services in.
        services: The services of projects.
        demo: Told of rooms that start; None for a server without a demo.
    """

    def __init__(
        self,
        *,
        stores: RoomStores,
        addresses: Addresses,
        signer: UrlSigner,
        limits: RoomLimits,
        livekit: LivekitServer | None,
        registry: RoomRegistry,
        sessions: SessionRecorder,
        integrations: Integrations,
        services: ExternalServiceSource,
        demo: DemoRoom | None = None,
    ) -> None:
        self._stores = stores
        self._addresses = addresses
        self._signer = signer
        self._limits = limits
        self._livekit = livekit
        self._registry = registry
        self._sessions = sessions
        self._integrations = integrations
        self._services = services
        self._demo = demo

    async def make(self, key: RoomKey) -> RoomWithServices:
        """A room with its services, ready for its first participant."""
        limits = self._limits
        room = RoomWithServices(
            key,
            url=self._addresses.room_url(key),
            limits=limits.connection,
            max_connections=limits.max_connections,
        )
        room.storage_name = await self._registry.storage_name(key.project_id, key.room_name)
        session = self._sessions.open(key.project_id, key.room_name, room.session_id)
        room_log = RoomLog(session.record)
        developer = DeveloperService(room, room_log)
        messaging = MessagingService(room)
        folder = self._stores.tables.folder(key.project_id, room.storage_name)
        database = DatabaseService(self._stores.tables, folder)
        dataset = DatasetService(database)
        sql = SqlService(dataset)
        queues = QueuesService(room, self._stores.queues, max_messages=limits.max_queue_messages)
        livekit = LivekitService(room, self._livekit)
        observers = FileObservers()
        storage = StorageService(
            room,
            await self._stores.files.open(key.project_id, room.storage_name),
            sign_url=lambda path, download: self._download_url(key, path, download),
            max_file_bytes=limits.max_file_bytes,
            observers=observers,
        )
        part = self._integrations.for_room(room, storage, lambda path: self._download_url(key, path, False))
        observers.listen(part.file_changed)
        documents = DocumentsService(room, self._stores.documents, storage, max_bytes=limits.max_document_bytes)
        observers.watch(documents)
        flat_documents = FlatDocuments(documents)
        calls = ToolCalls(room)
        agents = AgentsService(room, calls, part.call_router, part.toolkits, FlatHostLink(room))
        room.services = RoomServices(
            messaging=messaging,
            storage=storage,
            documents=documents,
            queues=queues,
            agents=agents,
            database=database,
            developer=developer,
        )
        called = ExternalServicesService(room, self._services)
        serving = (
            messaging,
            storage,
            flat_documents,
            queues,
            agents,
            database,
            dataset,
            sql,
            livekit,
            called,
            developer,
        )
        operations = OperationTable(operation for service in serving for operation in service.operations())
        host_answers = HostAnswers(calls)
        invoke_host = InvokeHostLink(room)
        toolkits = room_toolkits(
            room,
            storage=storage,
            documents=documents,
            log=room_log,
            calls=calls,
            host_link=invoke_host,
            dataset=dataset,
            sql=sql,
        )
        invoke = InvokeDialect(operations, toolkits, agents, calls, host_answers)
        toolkit_requests = ToolkitRequests(room, agents, toolkits, invoke_host)
        flat_answers = FlatHostAnswers(host_answers, agents)
        room.furnish(
            RoomParts(
                operations=operations,
                one_way_handlers={**flat_answers.one_way_handlers(), **invoke.one_way_handlers()},
                request_handlers={**invoke.request_handlers(), **toolkit_requests.request_handlers()},
                # The order in which the traces of a leaving participant are removed (protocol 3.7).
                services=(
                    queues,
                    messaging,
                    agents,
                    invoke,
                    storage,
                    flat_documents,
                    documents,
                    sql,
                    database,
                    livekit,
                    developer,
                    session,
                ),
                record=room_log.record,
                started=lambda: self._started(room, part),
                ended=part.ended,
            )
        )
        return room

    def _started(self, room: RoomWithServices, part: RoomIntegrations) -> None:
        part.started()
        if self._demo is not None:
            self._demo.room_started(room)

    def _download_url(self, key: RoomKey, path: str, download: bool) -> str:
        signed = self._signer.sign(key.project_id, key.room_name, path, download=download)
        return self._addresses.public + signed
