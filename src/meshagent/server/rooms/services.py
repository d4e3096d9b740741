"""The services of one room, for callers that do not use one of its connections."""

from __future__ import annotations

from dataclasses import dataclass

from meshagent.server.services.agents.service import AgentsService
from meshagent.server.services.agents.tool_calls import ToolCalls
from meshagent.server.services.database import DatabaseService
from meshagent.server.services.dataset.service import DatasetService
from meshagent.server.services.developer import DeveloperService
from meshagent.server.services.documents.service import DocumentsService
from meshagent.server.services.external_services import ExternalServicesService
from meshagent.server.services.livekit import LivekitService
from meshagent.server.services.messaging import MessagingService
from meshagent.server.services.queues import QueuesService
from meshagent.server.services.sql.service import SqlService
from meshagent.server.services.storage import StorageService


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomServices:
    """What a room can do."""

    agents: AgentsService
    database: DatabaseService
    dataset: DatasetService
    developer: DeveloperService
    documents: DocumentsService
    external: ExternalServicesService
    livekit: LivekitService
    messaging: MessagingService
    queues: QueuesService
    sql: SqlService
    storage: StorageService
    tool_calls: ToolCalls
