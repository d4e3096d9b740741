"""The room's own toolkits as today's clients know them (spec room-protocol-current 2.7 to 2.12, 2.16)."""

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
from meshagent.server.dispatch.invoke.dataset import database_area, dataset_area
from meshagent.server.dispatch.invoke.dialect import Area
from meshagent.server.dispatch.invoke.documents import SyncStreams
from meshagent.server.dispatch.invoke.files import DownloadWork, UploadWork
from meshagent.server.dispatch.invoke.logs import LogWork
from meshagent.server.dispatch.invoke.message_streams import MessageStreams
from meshagent.server.dispatch.invoke.tools import Adapted, DirectTool, UnaryTool, WorkTool, attachment_of, text_of
from meshagent.server.kernel.room_log import RoomLog
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


def areas(
    *,
    storage: StorageService,
    documents: DocumentsService,
    log: RoomLog,
    messages: MessageStreams,
    dataset: DatasetService,
    sql: SqlService,
) -> dict[str, Area]:
    """Every area by its toolkit name."""
    sync = SyncStreams(documents)
    return {
        "messaging": {
            "enable": UnaryTool(messaging_api.ENABLE),
            "disable": UnaryTool(messaging_api.DISABLE),
            "send": UnaryTool(messaging_api.SEND, _adapt_send),
            "broadcast": UnaryTool(messaging_api.BROADCAST, _adapt_broadcast),
            "stream": DirectTool(messages.begin, "messaging"),
        },
        "storage": {
            "exists": UnaryTool(storage_api.EXISTS),
            "stat": UnaryTool(storage_api.STAT),
            "list": UnaryTool(storage_api.LIST),
            "delete": UnaryTool(storage_api.DELETE),
            "move": UnaryTool(storage_api.MOVE),
            "download_url": UnaryTool(storage_api.DOWNLOAD_URL),
            "upload": WorkTool(UploadWork(storage), "storage"),
            "download": WorkTool(DownloadWork(storage), "storage"),
        },
        "sync": {
            "create": UnaryTool(documents_api.CREATE),
            "describe": UnaryTool(documents_api.DESCRIBE),
            "open": DirectTool(sync.begin, "sync"),
        },
        "queues": {
            "list": UnaryTool(queues_api.LIST),
            "open": UnaryTool(queues_api.OPEN),
            "send": UnaryTool(queues_api.SEND),
            "receive": UnaryTool(queues_api.RECEIVE),
            "drain": UnaryTool(queues_api.DRAIN),
            "close": UnaryTool(queues_api.CLOSE),
        },
        "developer": {
            "log": UnaryTool(developer_api.LOG),
            **{level: UnaryTool(developer_api.LOG, _level(level)) for level in ("info", "warning", "error")},
            "logs": WorkTool(LogWork(log), "developer"),
        },
        "dataset": dataset_area(dataset, sql),
        "database": database_area(),
        "livekit": {"connect": UnaryTool(livekit_api.CONNECT)},
        "services": {"list": UnaryTool(services_api.LIST), "restart": UnaryTool(services_api.RESTART)},
    }


def _adapt_send(arguments: bytes) -> Adapted:
    request = jsontext.decode(arguments, _Send)
    send = messaging_api.SendRequest(
        to_participant_id=request.to_participant_id,
        type=request.type,
        message=jsontext.raw(jsontext.loads(request.message_json)),
    )
    return text_of(send), attachment_of(request.attachment_base64)


def _adapt_broadcast(arguments: bytes) -> Adapted:
    request = jsontext.decode(arguments, _Broadcast)
    message = jsontext.raw(jsontext.loads(request.message_json))
    broadcast = messaging_api.BroadcastRequest(type=request.type, message=message)
    return text_of(broadcast), attachment_of(request.attachment_base64)


def _level(level: str) -> Callable[[bytes], Adapted]:
    """Entries of a level: `{message, extra}` becomes an entry of the type that the level names."""

    def adapt(arguments: bytes) -> Adapted:
        entry = jsontext.decode(arguments, _LogMessage)
        data = {**(entry.extra or {}), "message": entry.message}
        return text_of(developer_api.LogEntry(type=level, data=data)), b""

    return adapt
