"""Signing and checking compact JWTs with HS256, and nothing else (spec room-protocol 4.1).

PyJWT does the cryptography, constant-time comparison included. Its claim checks are not used: they also judge
`iat`, `aud` and `iss`, which participant tokens may carry as plain extra claims.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jwt
from jwt.algorithms import HMACAlgorithm

from meshagent.api.errors import InvalidRequestError

ALGORITHM = "HS256"


class MalformedTokenError(InvalidRequestError):
    """The text is not a JWT whose payload is a JSON object."""


class BadSignatureError(InvalidRequestError):
    """The signature was not made with this secret, or not with HS256."""


class _AnyLengthHmac(HMACAlgorithm):
    """HS256 that takes secrets under 32 bytes without a warning: published examples use such (spec 4.4)."""

    def check_key_length(self, key: Any) -> str | None:
        return None


def _make_jws() -> jwt.PyJWS:
    jws = jwt.PyJWS(algorithms=[])
    jws.register_algorithm(ALGORITHM, _AnyLengthHmac(HMACAlgorithm.SHA256))
    return jws


_JWS = _make_jws()


def sign(claims: Mapping[str, Any], secret: str) -> str:
    """The compact JWT of `claims`, whose header is `{"alg":"HS256","typ":"JWT"}`.

    Raises:
        InvalidRequestError: The secret is empty or a public key, or a claim has no JSON form.
    """
    if not secret:
        raise InvalidRequestError("a token cannot be signed with an empty secret")
    try:
        payload = json.dumps(claims, separators=(",", ":")).encode()
        return _JWS.encode(payload, secret, algorithm=ALGORITHM)
    except (TypeError, ValueError, jwt.InvalidKeyError) as error:
        raise InvalidRequestError(f"the token cannot be signed: {error}") from None


def read_unverified(text: str) -> dict[str, Any]:
    """The claims of a JWT whose signature nobody has checked yet.

    Raises:
        MalformedTokenError: It is not a JWT.
    """
    try:
        payload = _JWS.decode_complete(text, options={"verify_signature": False})["payload"]
    except (jwt.DecodeError, ValueError) as error:
        raise MalformedTokenError(f"the token is not a JWT: {error}") from None
    return _claims(payload)


def read_verified(text: str, secret: str) -> dict[str, Any]:
    """The claims of a JWT that was signed with `secret`; `exp` and `nbf` are for the caller to judge.

    Raises:
        MalformedTokenError: It is not a JWT.
        BadSignatureError: It was signed with another secret or algorithm.
    """
    if not secret:
        raise BadSignatureError("no token fits an empty secret")
    try:
        payload = _JWS.decode_complete(text, secret, algorithms=[ALGORITHM])["payload"]
    except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError, jwt.InvalidKeyError, NotImplementedError):
        raise BadSignatureError("the token's signature does not fit the secret") from None
    except (jwt.InvalidTokenError, ValueError) as error:
        raise MalformedTokenError(f"the token is not a JWT: {error}") from None
    return _claims(payload)


def _claims(payload: bytes) -> dict[str, Any]:
    try:
        claims = json.loads(payload)
    except (ValueError, RecursionError):
        raise MalformedTokenError("the token's payload is not JSON") from None
    if not isinstance(claims, dict):
        raise MalformedTokenError("the token's payload is not a JSON object")
    return claims
