"""CRDT documents under their public names (spec room-protocol 9.10)."""

from meshagent.api.documents.notifications import (
    ChangeNotification,
    DeltaAttr,
    DeltaAttrSet,
    DeltaEl,
    DeltaText,
)
from meshagent.api.documents.registry import (
    Documents,
    ProtocolMap,
    apply_backend_changes,
    apply_changes,
    get_state,
    get_state_vector,
    register_document,
    unregister_document,
)
from meshagent.api.documents.xml_document import ServerXmlDocument

__all__ = [
    "ChangeNotification",
    "DeltaAttr",
    "DeltaAttrSet",
    "DeltaEl",
    "DeltaText",
    "Documents",
    "ProtocolMap",
    "ServerXmlDocument",
    "apply_backend_changes",
    "apply_changes",
    "get_state",
    "get_state_vector",
    "register_document",
    "unregister_document",
]
