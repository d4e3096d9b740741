"""Signing and checking compact JWTs with HS256, and nothing else (protocol 4.1).

The cryptography is PyJWT's HMAC, which compares in constant time. The text is taken apart here: a server reads the
claims to find the key before it can check the signature, and so does each step once, in a fifth of the time.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
from jwt.algorithms import HMACAlgorithm

from meshagent.api.errors import InvalidRequestError
from meshagent.api.jsontext import loads

ALGORITHM: Final = "HS256"

_HMAC: Final = HMACAlgorithm(HMACAlgorithm.SHA256)


class MalformedTokenError(InvalidRequestError):
    """The text is not a JWT whose payload is a JSON object."""


class BadSignatureError(InvalidRequestError):
    """The signature was not made with this secret, or not with HS256."""


@dataclass(frozen=True, slots=True)
class UnverifiedJwt:
    """A parsed JWT. Do not trust `claims` before `verify` has returned.

    Attributes:
        claims: The payload.
        header: The JOSE header.
        signed: The bytes that the signature is about.
        signature: The signature, which may be empty.
    """

    claims: dict[str, Any]
    header: dict[str, Any]
    signed: bytes
    signature: bytes

    def verify(self, secret: str) -> None:
        """Check that the JWT was signed with `secret`. The caller checks its times.

        Raises:
            BadSignatureError: It was signed with another secret or algorithm, or not at all.
        """
        # RFC 7515 4.1.11: what a `crit` header demands is unknown here, so such a token must be refused.
        if self.header.get("alg") != ALGORITHM or "crit" in self.header:
            raise BadSignatureError(f"the token is not signed with {ALGORITHM}")
        if not secret or not _HMAC.verify(self.signed, _prepared(secret), self.signature):
            raise BadSignatureError("the token's signature does not match the secret")


def read_jwt(text: str) -> UnverifiedJwt:
    """Parse a compact JWT; the signature is not checked.

    Raises:
        MalformedTokenError: It is not a JWT.
    """
    try:
        signed, _, signature = text.encode("ascii").rpartition(b".")
        header, separator, payload = signed.partition(b".")
        if not separator or b"." in payload:
            raise MalformedTokenError("the token is not a JWT: it must have three parts separated by dots")
        claims, parsed_header = loads(_decode(payload)), loads(_decode(header))
        parts = UnverifiedJwt(claims, parsed_header, signed, _decode(signature))
    except (UnicodeEncodeError, binascii.Error):
        raise MalformedTokenError("the token is not a JWT: a part is not base64") from None
    except MalformedTokenError:
        raise
    except InvalidRequestError as error:
        raise MalformedTokenError(f"the token is not a JWT: {error}") from None
    if not isinstance(claims, dict) or not isinstance(parsed_header, dict):
        raise MalformedTokenError("the token's header and payload must be JSON objects")
    return parts


def sign(claims: Mapping[str, Any], secret: str) -> str:
    """The compact JWT of `claims`, whose header is `{"alg":"HS256","typ":"JWT"}`.

    Raises:
        InvalidRequestError: The secret is empty or a public key, or a claim has no JSON form.
    """
    if not secret:
        raise InvalidRequestError("a token cannot be signed with an empty secret")
    try:
        payload = json.dumps(claims, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"the token cannot be signed: {error}") from None
    header = json.dumps({"alg": ALGORITHM, "typ": "JWT"}, separators=(",", ":")).encode()
    signed = _encode(header) + b"." + _encode(payload)
    return (signed + b"." + _encode(_HMAC.sign(signed, _prepared(secret)))).decode()


@functools.lru_cache(maxsize=256)
def _prepared(secret: str) -> bytes:
    """The key of a secret of any length: published examples use some under 32 bytes (protocol 4.2).

    Kept for the secrets in use: PyJWT's check that a secret is no public key costs as much as the rest of a join.
    """
    try:
        return _HMAC.prepare_key(secret)
    except jwt.InvalidKeyError as error:
        raise InvalidRequestError(f"invalid token secret: {error}") from None


def _encode(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _decode(part: bytes) -> bytes:
    return base64.b64decode(part + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
