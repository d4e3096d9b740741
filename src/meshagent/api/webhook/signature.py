"""The form and the signature of webhook bodies; no I/O (protocol 15.2).

The signature is a JWT whose claim `sha256` is the hash of the body. Receivers of the 0.5 generation hash what
Python's `json.dumps` makes of the parsed body, not the bytes that came, so a sender must write exactly that form.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from meshagent.api.errors import InvalidRequestError, PermissionDeniedError
from meshagent.api.tokens.signing import read_jwt, sign
from meshagent.api.tokens.token import check_time

SIGNATURE_HEADER: Final = "Meshagent-Signature"
EVENT_ID_HEADER: Final = "Meshagent-Event-Id"
EVENT_TIME_HEADER: Final = "Meshagent-Event-Time"
RESEND_HEADER: Final = "Meshagent-Event-Resend"
"""How often somebody asked to send an event again; absent if nobody did."""

_BEARER: Final = "Bearer "


class SignatureRefusedError(PermissionDeniedError):
    """The signature of a webhook is missing or wrong."""

    code = "signature_refused"


@dataclass(frozen=True, slots=True)
class SignedBody:
    """A webhook ready to be posted: its body and headers."""

    body: bytes
    headers: dict[str, str]


def serialize(payload: Mapping[str, Any]) -> bytes:
    """The body of a webhook: Python's default JSON, in ASCII, keys in their order.

    Raises:
        InvalidRequestError: The payload has a value that JSON cannot hold.
    """
    try:
        return json.dumps(payload).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(f"the event cannot be written as JSON: {error}") from None


def parse(body: bytes) -> Any:
    """The JSON value of a received body.

    Raises:
        InvalidRequestError: It is not JSON.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"the body is not JSON: {error}") from None


def signed_body(
    payload: Mapping[str, Any], *, secret: str | None, headers: Mapping[str, str] | None = None
) -> SignedBody:
    """The body and headers of a webhook.

    Args:
        payload: `event` and `data`.
        secret: Signs the body; without one it is not signed.
        headers: More headers; content type and signature are replaced.
    """
    body = serialize(payload)
    # Header names are case-insensitive, and each must be sent once.
    ours = {"content-type", SIGNATURE_HEADER.lower()} if secret else {"content-type"}
    complete = {name: value for name, value in (headers or {}).items() if name.lower() not in ours}
    complete["Content-Type"] = "application/json"
    if secret:
        complete[SIGNATURE_HEADER] = signature_of(body, secret)
    return SignedBody(body, complete)


def signature_of(body: bytes, secret: str) -> str:
    """The value of the header `Meshagent-Signature`: `Bearer` and an HS256 JWT."""
    return _BEARER + sign({"sha256": hashlib.sha256(body).hexdigest()}, secret)


def verify(body: bytes, header: str | None, secret: str | None, *, now: float) -> None:
    """Check that the header signs the body, as received or as Python's `json.dumps` would write it.

    Args:
        body: The body as received.
        header: The value of `Meshagent-Signature`, None without that header.
        secret: The secret of the receiver; without one every signature is refused.
        now: Seconds since 1970, for signatures that expire.

    Raises:
        SignatureRefusedError: The signature is missing or wrong; the text says which.
        InvalidRequestError: The hash does not match the bytes, and the body is not JSON.
    """
    if header is None or not header.startswith(_BEARER):
        raise SignatureRefusedError(f"the header {SIGNATURE_HEADER} is missing, or is not a Bearer token")
    if not secret:
        raise SignatureRefusedError("the receiver has no webhook secret")
    try:
        signature = read_jwt(header.removeprefix(_BEARER).strip())
        signature.verify(secret)
        check_time(signature.claims, now=now)
    except (InvalidRequestError, PermissionDeniedError) as error:
        raise SignatureRefusedError(f"the signature is refused: {error}") from None
    claimed = signature.claims.get("sha256")
    if not isinstance(claimed, str):
        raise SignatureRefusedError("the signature has no claim sha256")
    if not _is_hash_of(claimed, body) and not _is_hash_of(claimed, serialize(parse(body))):
        raise SignatureRefusedError("the signature does not match the body")


def _is_hash_of(claimed: str, body: bytes) -> bool:
    return hmac.compare_digest(claimed.encode(errors="replace"), hashlib.sha256(body).hexdigest().encode())
