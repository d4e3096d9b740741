"""The MeshAgent SDK: join rooms, exchange messages, files and documents, call agents and tools.

Most programs start with `RoomClient` and `websocket_protocol`:

    async with RoomClient(protocol=websocket_protocol(participant_name="kim", room_name="demo")) as room:
        await room.messaging.enable()

Names are imported when they are first used, so that importing this package loads no library.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from meshagent.api.version import __version__

if TYPE_CHECKING:
    from meshagent.api.accounts.client import AccountsClient, Meshagent
    from meshagent.api.contracts.content import (
        EmptyResponse,
        ErrorResponse,
        FileResponse,
        JsonResponse,
        LinkResponse,
        TextResponse,
    )
    from meshagent.api.documents.nodes import Element
    from meshagent.api.documents.schema import ChildProperty, ElementType, MeshSchema, ValueProperty
    from meshagent.api.errors import RoomException
    from meshagent.api.helpers import (
        deploy_schema,
        meshagent_base_url,
        participant_token,
        websocket_protocol,
        websocket_room_url,
    )
    from meshagent.api.hosting.host import ServiceHost
    from meshagent.api.participant import Participant
    from meshagent.api.room.client import RoomClient
    from meshagent.api.room.descriptions import (
        AgentDescription,
        RequiredSchema,
        RequiredToolkit,
        Requirement,
        ToolDescription,
        ToolkitDescription,
    )
    from meshagent.api.room.files import FileHandle, StorageEntry
    from meshagent.api.room.messaging import RoomMessage
    from meshagent.api.room.participants import LocalParticipant, RemoteParticipant
    from meshagent.api.room.streams import MessageStreamChunk, MessageStreamReader, MessageStreamWriter
    from meshagent.api.room.sync import MeshDocument
    from meshagent.api.schema_registry import SchemaRegistration, SchemaRegistry
    from meshagent.api.tokens.scope import ApiScope
    from meshagent.api.tokens.token import ParticipantGrant, ParticipantToken
    from meshagent.api.transport.websocket import WebSocketClientProtocol
    from meshagent.api.webhook.events import CallEvent, RoomEndedEvent, RoomStartedEvent
    from meshagent.api.webhook.server import WebhookServer

_HOMES = {
    "accounts.client": ["AccountsClient", "Meshagent"],
    "documents.nodes": ["Element"],
    "documents.schema": ["ChildProperty", "ElementType", "MeshSchema", "ValueProperty"],
    "errors": ["RoomException"],
    "helpers": [
        "deploy_schema",
        "meshagent_base_url",
        "participant_token",
        "websocket_protocol",
        "websocket_room_url",
    ],
    "hosting.host": ["ServiceHost"],
    "participant": ["Participant"],
    "room.client": ["RoomClient"],
    "room.descriptions": [
        "AgentDescription",
        "RequiredSchema",
        "RequiredToolkit",
        "Requirement",
        "ToolDescription",
        "ToolkitDescription",
    ],
    "room.files": ["FileHandle", "StorageEntry"],
    "room.messaging": ["RoomMessage"],
    "room.participants": ["LocalParticipant", "RemoteParticipant"],
    "room.streams": ["MessageStreamChunk", "MessageStreamReader", "MessageStreamWriter"],
    "room.sync": ["MeshDocument"],
    "schema_registry": ["SchemaRegistration", "SchemaRegistry"],
    "tokens.scope": ["ApiScope"],
    "tokens.token": ["ParticipantGrant", "ParticipantToken"],
    "transport.websocket": ["WebSocketClientProtocol"],
    "webhook.events": ["CallEvent", "RoomEndedEvent", "RoomStartedEvent"],
    "webhook.server": ["WebhookServer"],
    "contracts.content": [
        "EmptyResponse",
        "ErrorResponse",
        "FileResponse",
        "JsonResponse",
        "LinkResponse",
        "TextResponse",
    ],
}
"""Where names are defined. Type checkers read the imports above; a test keeps the two equal."""

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

_SUBMODULES = frozenset(
    {
        "accounts_client",
        "chan",
        "crdt",
        "errors",
        "helpers",
        "messaging",
        "participant",
        "profile",
        "protocol",
        "room_server_client",
        "runtime",
        "schema",
        "schema_document",
        "schema_registry",
        "schema_util",
        "services",
        "webhooks",
    }
)
"""Submodules that programs use as attributes of the package."""

__all__ = [
    # rooms
    "RoomClient",
    "RoomException",
    "WebSocketClientProtocol",
    # participants and messages
    "LocalParticipant",
    "MessageStreamChunk",
    "MessageStreamReader",
    "MessageStreamWriter",
    "Participant",
    "RemoteParticipant",
    "RoomMessage",
    # files
    "FileHandle",
    "StorageEntry",
    # agents and tools
    "AgentDescription",
    "EmptyResponse",
    "ErrorResponse",
    "FileResponse",
    "JsonResponse",
    "LinkResponse",
    "RequiredSchema",
    "RequiredToolkit",
    "Requirement",
    "TextResponse",
    "ToolDescription",
    "ToolkitDescription",
    # documents
    "ChildProperty",
    "Element",
    "ElementType",
    "MeshDocument",
    "MeshSchema",
    "SchemaRegistration",
    "SchemaRegistry",
    "ValueProperty",
    "deploy_schema",
    # tokens
    "ApiScope",
    "ParticipantGrant",
    "ParticipantToken",
    "participant_token",
    # services and accounts
    "AccountsClient",
    "CallEvent",
    "Meshagent",
    "RoomEndedEvent",
    "RoomStartedEvent",
    "ServiceHost",
    "WebhookServer",
    "meshagent_base_url",
    "websocket_protocol",
    "websocket_room_url",
    "__version__",
]


class _Package(ModuleType):
    """A package whose functions are not hidden by submodules of the same name.

    Importing a submodule sets it as an attribute of its package, which would replace the functions
    `participant_token` and `websocket_protocol`.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOME_OF and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if (home := _HOME_OF.get(name)) is not None:
        value = getattr(import_module(f"{__name__}.{home}"), name)
    elif name in _SUBMODULES:
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # so that the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
