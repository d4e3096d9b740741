"""Builds a room and its services, dependencies first."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from meshagent.api.wire import names
from meshagent.server.accounts.room_registry import RoomRegistry
from meshagent.server.accounts.sessions import SessionLog, SessionRecorder
from meshagent.server.addresses import Addresses
from meshagent.server.dispatch.flat.documents import FlatDocuments
from meshagent.server.dispatch.flat.host_link import FlatHostAnswers, FlatHostLink
from meshagent.server.dispatch.host_answers import HostAnswers
from meshagent.server.dispatch.invoke.dialect import InvokeDialect
from meshagent.server.dispatch.invoke.host_link import InvokeHostLink
from meshagent.server.dispatch.invoke.room_toolkits import room_toolkits
from meshagent.server.dispatch.invoke.room_tools import RoomToolkit
from meshagent.server.dispatch.invoke.toolkits import ToolkitRequests
from meshagent.server.integrations import Integrations, RoomIntegrations
from meshagent.server.kernel.byte_budget import ByteBudget
from meshagent.server.kernel.dispatcher import Dispatcher, OperationTable
from meshagent.server.kernel.room_key import RoomKey
from meshagent.server.kernel.room_log import RoomLog
from meshagent.server.kernel.url_signing import UrlSigner
from meshagent.server.rooms.attributes import ParticipantAttributes
from meshagent.server.rooms.connection import ConnectionLimits
from meshagent.server.rooms.local.room import LocalRoom
from meshagent.server.rooms.room import Room
from meshagent.server.rooms.services import RoomServices
from meshagent.server.rooms.starts import RoomStarts
from meshagent.server.rooms.state import RoomState
from meshagent.server.services.agents.hosting import HostLink
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
from meshagent.server.services.storage import SignUrl, StorageService
from meshagent.server.stores.documents import DocumentLogStore
from meshagent.server.stores.files import FileStores
from meshagent.server.stores.outbox import DeliveryOutbox
from meshagent.server.stores.queues import QueueStore
from meshagent.server.stores.tables.table_store import TableStore
from meshagent.server.webhooks.ports import ExternalServiceSource


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomStores:
    """The stores that all rooms of a server share."""

    documents: DocumentLogStore
    queues: QueueStore
    files: FileStores
    tables: TableStore
    outbox: DeliveryOutbox


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomLimits:
    """Bounds of each room; sizes in bytes."""

    connection: ConnectionLimits
    """Its `waiting` is for all rooms."""
    max_waiting_bytes: int
    presence: ByteBudget
    """Attributes and registrations of all rooms."""
    max_presence_bytes: int
    max_connections: int
    max_file_bytes: int
    max_document_bytes: int
    max_queue_messages: int
    max_queue_bytes: int

    def waiting_of_a_room(self) -> ByteBudget:
        """What the participants of a new room may have waiting together."""
        what = "requests and answers that wait in the room"
        return ByteBudget(self.max_waiting_bytes, parent=self.connection.waiting, what=what)

    def presence_of_a_room(self) -> ByteBudget:
        """What the participants of a new room may say of themselves together."""
        what = "attributes and registrations of the room's participants"
        return ByteBudget(self.max_presence_bytes, parent=self.presence, what=what)


@dataclass(frozen=True, slots=True)
class _Lifecycle:
    """Passes a room's beginning and end on."""

    key: RoomKey
    integrations: RoomIntegrations
    starts: RoomStarts

    def started(self) -> None:
        self.integrations.started()
        self.starts.announce(self.key)

    def ended(self) -> None:
        self.integrations.ended()

    def came_to_nothing(self) -> None:
        self.integrations.came_to_nothing()


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
        starts: Told of rooms that start.
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
        starts: RoomStarts,
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
        self._starts = starts

    async def make(self, key: RoomKey, population_changed: Callable[[], None]) -> LocalRoom:
        """A room with its services, ready for its first participant.

        Args:
            key: Which room.
            population_changed: Called whenever somebody has come or gone.
        """
        session_id = str(uuid.uuid4())
        record = await self._registry.starting(key.project_id, key.room_name)
        download_url = partial(self._download_url, key.project_id, record.id)
        session = self._sessions.open(key.project_id, key.room_name, session_id)
        room_log = RoomLog(session.record)
        state = RoomState(
            key,
            storage_name=record.storage_name,
            url=self._addresses.room_url(key.project_id, key.room_name),
            session_id=session_id,
            room_log=room_log,
            presence=self._limits.presence_of_a_room(),
            waiting=self._limits.waiting_of_a_room(),
        )
        observers = FileObservers()
        storage = await self._storage(state, observers, download_url)
        part = self._integrations.for_room(state, storage, partial(download_url, download=False))
        observers.listen(part)
        services = self._room_services(state, room_log, storage, part)
        observers.watch(services.documents)
        room = self._room(state, room_log, services, session, _Lifecycle(key, part, self._starts), population_changed)
        await part.starting()
        return LocalRoom(room, services, self._integrations.targets)

    async def _storage(self, state: RoomState, observers: FileObservers, download_url: SignUrl) -> StorageService:
        return StorageService(
            state,
            await self._stores.files.open(state.project_id, state.storage_name),
            sign_url=download_url,
            max_file_bytes=self._limits.max_file_bytes,
            observers=observers,
        )

    def _room_services(
        self, state: RoomState, room_log: RoomLog, storage: StorageService, part: RoomIntegrations
    ) -> RoomServices:
        stores, limits = self._stores, self._limits
        tables = stores.tables.room(state.project_id, state.storage_name)
        calls = ToolCalls(state)
        return RoomServices(
            agents=AgentsService(state, calls, part.call_router, part.toolkits, FlatHostLink(state), state.presence),
            database=DatabaseService(tables),
            dataset=DatasetService(tables),
            developer=DeveloperService(state, room_log),
            documents=DocumentsService(
                state, stores.documents, storage, max_bytes=limits.max_document_bytes, held=state.waiting
            ),
            external=ExternalServicesService(state, self._services),
            livekit=LivekitService(state, self._livekit),
            messaging=MessagingService(state),
            queues=QueuesService(
                state,
                stores.queues,
                max_messages=limits.max_queue_messages,
                max_bytes=limits.max_queue_bytes,
            ),
            sql=SqlService(tables),
            storage=storage,
            tool_calls=calls,
        )

    def _room(
        self,
        state: RoomState,
        room_log: RoomLog,
        services: RoomServices,
        session: SessionLog,
        lifecycle: _Lifecycle,
        population_changed: Callable[[], None],
    ) -> Room:
        """The room over its services, with the dialects by which participants reach them."""
        flat_documents = FlatDocuments(services.documents)
        operations = _operations(services, flat_documents)
        host_link = InvokeHostLink(state)
        toolkits = _room_toolkits(state, room_log, services, host_link)
        host_answers = HostAnswers(services.tool_calls)
        invoke = InvokeDialect(operations, toolkits, services.agents, services.tool_calls, host_answers)
        attributes = ParticipantAttributes(state, state.presence)
        one_way_handlers = {
            names.SET_ATTRIBUTES: attributes.set,
            **FlatHostAnswers(host_answers, services.agents).one_way_handlers(),
            **invoke.one_way_handlers(),
        }
        request_handlers = {
            **invoke.request_handlers(),
            **ToolkitRequests(state, services.agents, toolkits, host_link).request_handlers(),
        }
        return Room(
            state,
            Dispatcher(operations, one_way_handlers, request_handlers, state.record_failure),
            # The order in which the traces of a leaving participant are removed (protocol 3.7).
            (
                services.queues,
                services.messaging,
                attributes,
                services.agents,
                invoke,
                services.storage,
                flat_documents,
                services.documents,
                services.sql,
                services.database,
                services.livekit,
                services.developer,
                session,
            ),
            lifecycle=lifecycle,
            population_changed=population_changed,
            limits=replace(self._limits.connection, waiting=state.waiting),
            max_connections=self._limits.max_connections,
        )

    def _download_url(self, project_id: str, room_id: str, path: str, download: bool) -> str:
        signed = self._signer.sign(project_id, room_id, path, download=download)
        return self._addresses.public + signed


def _operations(services: RoomServices, flat_documents: FlatDocuments) -> OperationTable:
    serving = (
        services.messaging,
        services.storage,
        flat_documents,
        services.queues,
        services.agents,
        services.database,
        services.dataset,
        services.sql,
        services.livekit,
        services.external,
        services.developer,
    )
    return OperationTable(operation for service in serving for operation in service.operations())


def _room_toolkits(
    state: RoomState, room_log: RoomLog, services: RoomServices, host_link: HostLink
) -> dict[str, RoomToolkit]:
    return room_toolkits(
        state,
        storage=services.storage,
        documents=services.documents,
        log=room_log,
        calls=services.tool_calls,
        host_link=host_link,
        dataset=services.dataset,
        sql=services.sql,
    )
