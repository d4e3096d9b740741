"""Public names for packing messages and contents; see `meshagent.api.contracts.content` and `meshagent.api.wire`."""

from meshagent.api.contracts.content import (
    BinaryBody,
    Body,
    ControlBody,
    EmptyBody,
    EmptyRequest,
    EmptyResponse,
    ErrorBody,
    ErrorRequest,
    ErrorResponse,
    FileBody,
    FileRequest,
    FileResponse,
    JsonBody,
    JsonRequest,
    JsonResponse,
    LinkBody,
    LinkRequest,
    LinkResponse,
    RawOutputs,
    Request,
    Response,
    TextBody,
    TextRequest,
    TextResponse,
    body_types,
    ensure_response,
)
from meshagent.api.contracts.content import unpack_body_parts as unpack_request_parts
from meshagent.api.contracts.content import unpack_body_parts as unpack_response_parts
from meshagent.api.wire.content import unpack_body as unpack_request
from meshagent.api.wire.content import unpack_body as unpack_response
from meshagent.api.wire.envelope import pack as pack_message
from meshagent.api.wire.envelope import split_header as split_message_header
from meshagent.api.wire.envelope import split_payload as split_message_payload
from meshagent.api.wire.envelope import unpack as unpack_message

__all__ = [
    "BinaryBody",
    "Body",
    "ControlBody",
    "EmptyBody",
    "EmptyRequest",
    "EmptyResponse",
    "ErrorBody",
    "ErrorRequest",
    "ErrorResponse",
    "FileBody",
    "FileRequest",
    "FileResponse",
    "JsonBody",
    "JsonRequest",
    "JsonResponse",
    "LinkBody",
    "LinkRequest",
    "LinkResponse",
    "RawOutputs",
    "Request",
    "Response",
    "TextBody",
    "TextRequest",
    "TextResponse",
    "body_types",
    "ensure_response",
    "pack_message",
    "split_message_header",
    "split_message_payload",
    "unpack_message",
    "unpack_request",
    "unpack_request_parts",
    "unpack_response",
    "unpack_response_parts",
]
