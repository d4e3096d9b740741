"""Contents as bytes: an envelope whose header names the content's type (protocol 2.4)."""

from __future__ import annotations

from meshagent.api.contracts.content import Body, unpack_body_parts
from meshagent.api.wire import envelope


def pack_body(content: Body) -> bytes:
    """The content as the data of a message."""
    return envelope.pack(content.to_json(), content.get_data())


def unpack_body(data: bytes) -> Body:
    """The content in the data of a message.

    Raises:
        InvalidRequestError: No envelope, an unknown type, or a field is missing.
    """
    header, payload = envelope.unpack(data)
    return unpack_body_parts(header, payload)
