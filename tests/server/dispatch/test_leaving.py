"""What a whole room does with the streams of a participant whose connection is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meshagent.api.tokens.scope import FULL_ROOM_SCOPE
from meshagent.api.tokens.token import ParticipantToken
from meshagent.api.wire import envelope
from meshagent.api.wire.packets import Message
from meshagent.server.dispatch.invoke.messages import INVOKE_TOOL, REQUEST_CHUNK
from meshagent.server.kernel.admission import Admission
from tests.support.assembly import assembled_server
from tests.support.websocket_peer import eventually

PATH = "a.document"


async def test_a_room_ends_the_streams_of_a_participant_that_leaves(tmp_path: Path) -> None:
    async with assembled_server(tmp_path) as server:
        room = server.room
        token = ParticipantToken(name="guest")
        guest = room.connection_for(
            Admission(room.state.project_id, None, token.name, role="user", scope=FULL_ROOM_SCOPE, token=token)
        )
        room.entered(guest)

        def send(message_type: str, header: dict[str, Any]) -> None:
            room.dispatcher.dispatch(guest, Message(1, message_type, envelope.pack(header)))

        arguments = {"type": "control", "method": "open"}
        send(INVOKE_TOOL, {"toolkit": "sync", "tool": "open", "tool_call_id": "doc", "arguments": arguments})
        start = {"type": "json", "json": {"kind": "start", "path": PATH, "create": True}}
        send(REQUEST_CHUNK, {"tool_call_id": "doc", "chunk": start})

        async with server.services.documents.using(PATH, create=True) as document:
            await eventually(lambda: len(document.subscribers) == 1)
            room.departed(guest, 1006, "connection lost")
            assert not document.subscribers
