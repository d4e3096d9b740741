"""A room of this process, as the rest of the server reaches it."""

from __future__ import annotations

from meshagent.api.errors import LimitExceededError
from meshagent.api.tokens.scope import ApiScope
from meshagent.api.wire.close_codes import CloseCode
from meshagent.server.kernel.admission import Admission
from meshagent.server.rooms.handle import BuiltInKind, ParticipantInfo, RoomRunsError, RoomStatus
from meshagent.server.rooms.local.documents import LocalDocuments
from meshagent.server.rooms.local.files import LocalFiles
from meshagent.server.rooms.local.tools import LocalTools
from meshagent.server.rooms.room import Room
from meshagent.server.rooms.services import RoomServices
from meshagent.server.services.agents.builtin_targets import BuiltInTarget, BuiltInTargets
from meshagent.server.websocket.handler import WebSocketHandler


class LocalRoom:
    """A room with its services: implements `RoomHandle`, and what the directory asks of a room.

    Args:
        room: The room.
        services: Its services.
        targets: What the server has built in.
    """

    def __init__(self, room: Room, services: RoomServices, targets: BuiltInTargets) -> None:
        self.room = room
        self.services = services
        self._targets = targets
        self.files = LocalFiles(services.storage)
        self.documents = LocalDocuments(services.documents)
        self.tools = LocalTools(services.agents)

    # --- the directory's side ------------------------------------------------------------------------

    @property
    def session_id(self) -> str:
        return self.room.state.session_id

    @property
    def project_id(self) -> str:
        return self.room.state.project_id

    @property
    def users(self) -> int:
        return self.room.state.users

    async def close(self, code: CloseCode, reason: str, *, drop: bool = False) -> None:
        await self.room.close(code, reason, drop=drop)

    # --- the handle ----------------------------------------------------------------------------------

    async def join(self, admission: Admission) -> WebSocketHandler:
        room = self.room
        if room.is_full:
            raise LimitExceededError(f"the room {room.state.name} is full", limit=room.max_connections)
        if admission.token.extra_payload.get("meshagent_dev_services") and room.state.participants:
            raise RoomRunsError(f"the room {room.state.name} is running; services can be tried in a fresh one only")
        return room.connection_for(admission)

    async def install(self, kind: BuiltInKind, name: str, scope: ApiScope) -> None:
        scope.require_agents("call")
        await self._targets.install(BuiltInTarget(kind, name), self.services.storage)

    async def status(self) -> RoomStatus:
        here = self.room.state.participants.values()
        return RoomStatus(self.session_id, [ParticipantInfo(one.id, one.name, one.role) for one in here])

    async def disconnect(self, participant_id: str, reason: str) -> bool:
        connection = self.room.connections.get(participant_id)
        if connection is None:
            return False
        connection.disconnect(CloseCode.POLICY, reason)
        return True

    async def disconnect_key(self, key_id: str, reason: str) -> None:
        for connection in list(self.room.connections.values()):
            if connection.participant.key_id == key_id:
                connection.disconnect(CloseCode.POLICY, reason)
