"""Documents and their nodes under their public names (spec room-protocol 9.8)."""

from meshagent.api.documents.document import Document
from meshagent.api.documents.events import EventEmitter
from meshagent.api.documents.helpers import attributes_from_json, splice, str_slice, tag_name_from_json
from meshagent.api.documents.nodes import Element, Text

__all__ = [
    "Document",
    "Element",
    "EventEmitter",
    "Text",
    "attributes_from_json",
    "splice",
    "str_slice",
    "tag_name_from_json",
]
