"""Participant tokens and API scopes, under the name that existing programs import."""

from meshagent.api.tokens.grants import (
    AdminGrant,
    AgentsGrant,
    DatasetGrant,
    DeveloperGrant,
    LivekitGrant,
    LlmGrant,
    MessagingGrant,
    QueuesGrant,
    StorageFileGrant,
    StorageGrant,
    StoragePathGrant,
    SyncGrant,
    SyncPathGrant,
    TableGrant,
)
from meshagent.api.tokens.scope import ApiScope
from meshagent.api.tokens.token import ParticipantGrant, ParticipantToken

__all__ = [
    "AdminGrant",
    "AgentsGrant",
    "ApiScope",
    "DatasetGrant",
    "DeveloperGrant",
    "LivekitGrant",
    "LlmGrant",
    "MessagingGrant",
    "ParticipantGrant",
    "ParticipantToken",
    "QueuesGrant",
    "StorageFileGrant",
    "StorageGrant",
    "StoragePathGrant",
    "SyncGrant",
    "SyncPathGrant",
    "TableGrant",
]
