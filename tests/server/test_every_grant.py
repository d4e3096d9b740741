"""A token that allows nothing can do nothing, whichever way it asks; all that needs no grant is listed here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import msgspec
import pytest

from meshagent.api.contracts.operation import Operation
from meshagent.api.errors import PermissionDeniedError
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.dispatch.invoke import messages
from meshagent.server.rooms.room import Room
from tests.support.assembly import Asker, assembled_server

# Each is harmless, or concerns only what its caller was allowed to begin.
WITHOUT_GRANT = {
    "messaging.disable",
    "room.disconnect",
    "room.sync",  # checked per document; what may only be read is dropped
    "storage.write",
    "storage.close",
    "agent.unregister_agent",
    "agent.unregister_toolkit",
    "developer.log",
    "developer.unwatch",
}


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    async with assembled_server(tmp_path) as server:
        yield server.room


@pytest.fixture
def nobody() -> Asker:
    return Asker(ApiScope())


def smallest_request(operation: Operation[Any, Any]) -> dict[str, Any]:
    """A request that decodes: every required member, with the simplest value of its type."""
    fields = msgspec.structs.fields(operation.request)
    return {field.encode_name: _simplest(field.type) for field in fields if field.required}


def _simplest(kind: Any) -> Any:
    if isinstance(kind, UnionType):
        return _simplest(get_args(kind)[0])
    return {dict: {}, list: [], msgspec.Raw: {}, int: 1, float: 1}.get(get_origin(kind) or kind, "a.txt")


async def test_every_operation_is_refused_in_the_flat_dialect(room: Room, nobody: Asker) -> None:
    open_to_all = set()
    for name in room.dispatcher.operations.by_name:
        served = room.dispatcher.operations.find(name)
        assert served is not None
        if not isinstance(nobody.ask(room, name, smallest_request(served.operation)), PermissionDeniedError):
            open_to_all.add(name)
    assert open_to_all == WITHOUT_GRANT


async def test_every_tool_of_the_room_is_refused_in_the_invoke_dialect(room: Room, nobody: Asker) -> None:
    listed = Asker().ask(room, messages.LIST_TOOLKITS, {}).tools
    open_to_all = set()
    for toolkit, described in listed.items():
        for tool in described["tools"]:
            arguments: dict[str, Any] = {"type": "json", "json": request_of(room, toolkit, tool)}
            call = {"toolkit": toolkit, "tool": tool, "arguments": arguments}
            if (toolkit, tool) in STREAMS:
                call |= {"arguments": {"type": "control", "method": "open"}, "tool_call_id": tool}
            if not isinstance(nobody.ask(room, messages.INVOKE_TOOL, call), PermissionDeniedError):
                open_to_all.add((toolkit, tool))
    assert open_to_all == {
        ("messaging", "disable"),
        *(("developer", tool) for tool in ("log", "info", "warning", "error")),
    }


STREAMS = {
    ("messaging", "stream"),
    ("storage", "upload"),
    ("storage", "download"),
    ("sync", "open"),
    ("developer", "logs"),
    *(("dataset", tool) for tool in ("create_table", "insert", "merge", "search", "read_sql_query")),
}


def request_of(room: Room, toolkit: str, tool: str) -> dict[str, Any]:
    """The request of the operation behind a tool, with the members in which the dialects differ."""
    served = room.dispatcher.operations.find(f"{'room' if toolkit == 'sync' else toolkit}.{tool}")
    return {"message": "text"} if served is None else smallest_request(served.operation)


async def test_registering_listing_and_calling_toolkits_is_refused(room: Room, nobody: Asker) -> None:
    requests: list[tuple[str, dict[str, Any]]] = [
        (messages.LIST_TOOLKITS, {}),
        (messages.REGISTER_TOOLKIT, {"name": "tools", "public": True}),
        (messages.REGISTER_TOOLKIT, {"name": "tools"}),
        (messages.INVOKE_TOOL, {"toolkit": "tools", "tool": "add"}),
        (messages.CALL, {"name": "tools", "url": "http://127.0.0.1/"}),
    ]
    for message_type, header in requests:
        assert isinstance(nobody.ask(room, message_type, header), PermissionDeniedError), message_type
