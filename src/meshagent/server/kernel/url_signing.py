"""Signed download URLs: they let whoever has one read one file for a while, without further credentials."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import msgspec

from meshagent.api.errors import PermissionDeniedError

__all__ = ["SIGNED_FILES_PREFIX", "SignedFile", "UrlSigner"]

SIGNED_FILES_PREFIX: Final = "/files"

_PURPOSE: Final = b"openmeshagent signed file URLs 2"
_SIGNATURE_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class SignedFile:
    """What a signed URL allows; `path` is as it was signed, `expires_at` in seconds since 1970.

    The room's id names one life of a room: another one of the same name has another id.
    """

    project_id: str
    room_id: str
    path: str
    download: bool
    expires_at: int


class UrlSigner:
    """Signs paths of files with HMAC-SHA256 and checks them.

    Args:
        secret: Anything secret of the server's; a key for this purpose alone is derived from it.
        lifetime: Seconds that a URL is good for.
        now: Seconds since 1970.
    """

    def __init__(self, secret: bytes, *, lifetime: float = 3600.0, now: Callable[[], float] = time.time) -> None:
        self._key = hmac.digest(secret, _PURPOSE, hashlib.sha256)
        self._lifetime = lifetime
        self._now = now

    def sign(self, project_id: str, room_id: str, path: str, *, download: bool) -> str:
        """The path of a URL for a file: `/files/SIGNED/NAME`, where NAME is for people only.

        Args:
            project_id: Whose room it is.
            room_id: The room.
            path: The file in it.
            download: Whether a browser is to save the file instead of showing it.
        """
        expires_at = int(self._now() + self._lifetime)
        claims = msgspec.json.encode((project_id, room_id, path, download, expires_at))
        signed = base64.urlsafe_b64encode(self._signature(claims) + claims).rstrip(b"=").decode()
        return f"{SIGNED_FILES_PREFIX}/{signed}/{quote(path.rpartition('/')[2], safe='')}"

    def verify(self, signed: str) -> SignedFile:
        """What a URL's SIGNED part allows.

        Raises:
            PermissionDeniedError: It was not made here, was changed, or has expired.
        """
        try:
            decoded = base64.b64decode(signed.encode() + b"=" * (-len(signed) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            decoded = b""
        signature, claims = decoded[:_SIGNATURE_BYTES], decoded[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._signature(claims)):
            raise PermissionDeniedError("this download URL is not valid")
        file = SignedFile(*msgspec.json.decode(claims, type=tuple[str, str, str, bool, int]))
        if self._now() >= file.expires_at:
            raise PermissionDeniedError("this download URL has expired")
        return file

    def _signature(self, claims: bytes) -> bytes:
        return hmac.digest(self._key, claims, hashlib.sha256)
