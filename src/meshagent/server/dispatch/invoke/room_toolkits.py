"""The room's own toolkits as current clients call them (protocol 14.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from meshagent.api import jsontext
from meshagent.api.contracts import developer as developer_api
from meshagent.api.contracts import documents as documents_api
from meshagent.api.contracts import livekit as livekit_api
from meshagent.api.contracts import messaging as messaging_api
from meshagent.api.contracts import queues as queues_api
from meshagent.api.contracts import services as services_api
from meshagent.api.contracts import storage as storage_api
from meshagent.server.dispatch.invoke.dataset_toolkits import database_toolkit, dataset_toolkit
from meshagent.server.dispatch.invoke.document_stream import DocumentStream
from meshagent.server.dispatch.invoke.file_streams import DownloadHandler, UploadHandler
from meshagent.server.dispatch.invoke.log_stream import LogHandler
from meshagent.server.dispatch.invoke.message_stream import MessageStream
from meshagent.server.dispatch.invoke.room_tools import (
    OperationInput,
    OperationTool,
    RoomToolkit,
    StreamTool,
    attachment_of,
    task_tool,
    text_of,
)
from meshagent.server.dispatch.invoke.stream_tasks import Spawn
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.json_cost import check_strict, check_values
from meshagent.server.kernel.room_log import RoomLog
from meshagent.server.services.agents.hosting import HostLink
from meshagent.server.services.agents.tool_calls import ToolCalls
from meshagent.server.services.dataset.service import DatasetService
from meshagent.server.services.documents.service import DocumentsService
from meshagent.server.services.sql.service import SqlService
from meshagent.server.services.storage import StorageService


class _Send(msgspec.Struct, frozen=True, kw_only=True):
    to_participant_id: str
    type: str
    message_json: str = "{}"
    attachment_base64: str | None = None


class _Broadcast(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    message_json: str = "{}"
    attachment_base64: str | None = None


class _LogMessage(msgspec.Struct, frozen=True, kw_only=True):
    message: str
    extra: dict[str, Any] | None = None


def room_toolkits(
    room: RoomContext,
    *,
    storage: StorageService,
    documents: DocumentsService,
    log: RoomLog,
    calls: ToolCalls,
    host_link: HostLink,
    dataset: DatasetService,
    sql: SqlService,
) -> dict[str, RoomToolkit]:
    """The toolkits by name.

    Args:
        room: The room.
        storage: Its files.
        documents: Its documents.
        log: Its log.
        calls: Its tool calls, by which participants stream messages to each other.
        host_link: The way to the receivers of such streams.
        dataset: Its tables.
        sql: Its SQL queries.
    """
    return {
        "messaging": _messaging(room, calls, host_link),
        "storage": _storage(storage, room.spawn),
        "sync": _sync(documents, room.spawn),
        "queues": _queues(),
        "developer": _developer(log, room.spawn),
        "dataset": dataset_toolkit(dataset, sql, room.spawn),
        "database": database_toolkit(),
        "livekit": {"connect": OperationTool(livekit_api.CONNECT)},
        "services": {"list": OperationTool(services_api.LIST), "restart": OperationTool(services_api.RESTART)},
    }


def _messaging(room: RoomContext, calls: ToolCalls, host_link: HostLink) -> RoomToolkit:
    return {
        "enable": OperationTool(messaging_api.ENABLE),
        "disable": OperationTool(messaging_api.DISABLE),
        "send": OperationTool(messaging_api.SEND, _convert_send),
        "broadcast": OperationTool(messaging_api.BROADCAST, _convert_broadcast),
        "stream": StreamTool(lambda stream: MessageStream(stream, room, calls, host_link), "messaging"),
    }


def _storage(storage: StorageService, spawn: Spawn) -> RoomToolkit:
    return {
        "exists": OperationTool(storage_api.EXISTS),
        "stat": OperationTool(storage_api.STAT),
        "list": OperationTool(storage_api.LIST),
        "delete": OperationTool(storage_api.DELETE),
        "move": OperationTool(storage_api.MOVE),
        "download_url": OperationTool(storage_api.DOWNLOAD_URL),
        "upload": task_tool(UploadHandler(storage), "storage", spawn),
        "download": task_tool(DownloadHandler(storage), "storage", spawn),
    }


def _sync(documents: DocumentsService, spawn: Spawn) -> RoomToolkit:
    return {
        "create": OperationTool(documents_api.CREATE),
        "describe": OperationTool(documents_api.DESCRIBE),
        "open": StreamTool(lambda stream: DocumentStream(stream, documents, spawn), "sync"),
    }


def _queues() -> RoomToolkit:
    return {
        "list": OperationTool(queues_api.LIST),
        "open": OperationTool(queues_api.OPEN),
        "send": OperationTool(queues_api.SEND),
        "receive": OperationTool(queues_api.RECEIVE),
        # Names of this server's own, for what today's clients have no word for (protocol 18.4).
        "cancel_receive": OperationTool(queues_api.CANCEL_RECEIVE),
        "ack": OperationTool(queues_api.ACK),
        "release": OperationTool(queues_api.RELEASE),
        "extend": OperationTool(queues_api.EXTEND),
        "drain": OperationTool(queues_api.DRAIN),
        "close": OperationTool(queues_api.CLOSE),
    }


def _developer(log: RoomLog, spawn: Spawn) -> RoomToolkit:
    return {
        "log": OperationTool(developer_api.LOG),
        **{level: OperationTool(developer_api.LOG, _level(level)) for level in ("info", "warning", "error")},
        "logs": task_tool(LogHandler(log), "developer", spawn),
    }


def _convert_send(arguments: bytes) -> OperationInput:
    request = jsontext.decode(arguments, _Send)
    send = messaging_api.SendRequest(
        to_participant_id=request.to_participant_id,
        type=request.type,
        message=_message(request.message_json),
    )
    return text_of(send), attachment_of(request.attachment_base64)


def _convert_broadcast(arguments: bytes) -> OperationInput:
    request = jsontext.decode(arguments, _Broadcast)
    broadcast = messaging_api.BroadcastRequest(type=request.type, message=_message(request.message_json))
    return text_of(broadcast), attachment_of(request.attachment_base64)


def _message(text: str) -> msgspec.Raw:
    check_strict(text.encode())
    return jsontext.text_as_raw(text)


def _level(level: str) -> Callable[[bytes], OperationInput]:
    """Entries of a level: `{message, extra}` becomes an entry of the type that the level names."""

    def convert(arguments: bytes) -> OperationInput:
        check_values(arguments)
        entry = jsontext.decode(arguments, _LogMessage)
        data = {**(entry.extra or {}), "message": entry.message}
        return text_of(developer_api.LogEntry(type=level, data=data)), b""

    return convert
