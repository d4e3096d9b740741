"""The room client and all that belongs to it, under the name that existing programs import (spec room-protocol 9.7)."""

from meshagent.api.chan import Chan
from meshagent.api.contracts.data_types import (
    DataType,
    DateDataType,
    FloatDataType,
    IntDataType,
    TextDataType,
    TimestampDataType,
    VectorDataType,
)
from meshagent.api.errors import RoomException
from meshagent.api.messaging import (
    EmptyResponse,
    ErrorResponse,
    FileResponse,
    JsonResponse,
    LinkResponse,
    RawOutputs,
    Request,
    Response,
    TextResponse,
    pack_message,
    unpack_message,
    unpack_response,
)
from meshagent.api.participant import Participant
from meshagent.api.protocol import ClientProtocol, Protocol
from meshagent.api.room.agents import AgentsClient
from meshagent.api.room.client import RoomClient
from meshagent.api.room.database import CreateMode, DatabaseClient
from meshagent.api.room.descriptions import (
    AgentDescription,
    RequiredSchema,
    RequiredToolkit,
    Requirement,
    ToolDescription,
    ToolkitDescription,
)
from meshagent.api.room.developer import DeveloperClient
from meshagent.api.room.documents import MeshDocument
from meshagent.api.room.files import FileHandle, StorageEntry
from meshagent.api.room.livekit import LivekitClient, LivekitConnectionInfo
from meshagent.api.room.messaging import MessagingClient, RoomMessage
from meshagent.api.room.participants import LocalParticipant, RemoteParticipant
from meshagent.api.room.queues import Queue, QueuesClient
from meshagent.api.room.reconnect import ReconnectPolicy
from meshagent.api.room.storage import StorageClient
from meshagent.api.room.streams import MessageStreamChunk, MessageStreamReader, MessageStreamWriter
from meshagent.api.room.sync import SyncClient
from meshagent.api.runtime import RuntimeDocument, runtime
from meshagent.api.schema import MeshSchema

__all__ = [
    "AgentDescription",
    "AgentsClient",
    "Chan",
    "ClientProtocol",
    "CreateMode",
    "DataType",
    "DatabaseClient",
    "DateDataType",
    "DeveloperClient",
    "EmptyResponse",
    "ErrorResponse",
    "FileHandle",
    "FileResponse",
    "FloatDataType",
    "IntDataType",
    "JsonResponse",
    "LinkResponse",
    "LivekitClient",
    "LivekitConnectionInfo",
    "LocalParticipant",
    "MeshDocument",
    "MeshSchema",
    "MessageStreamChunk",
    "MessageStreamReader",
    "MessageStreamWriter",
    "MessagingClient",
    "Participant",
    "Protocol",
    "Queue",
    "QueuesClient",
    "RawOutputs",
    "ReconnectPolicy",
    "RemoteParticipant",
    "Request",
    "RequiredSchema",
    "RequiredToolkit",
    "Requirement",
    "Response",
    "RoomClient",
    "RoomException",
    "RoomMessage",
    "RuntimeDocument",
    "StorageClient",
    "StorageEntry",
    "SyncClient",
    "TextDataType",
    "TextResponse",
    "TimestampDataType",
    "ToolDescription",
    "ToolkitDescription",
    "VectorDataType",
    "pack_message",
    "runtime",
    "unpack_message",
    "unpack_response",
]
