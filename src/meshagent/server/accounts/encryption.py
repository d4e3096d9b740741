"""Secrets at rest: encrypted with a key that is not in the database."""

from __future__ import annotations

import base64

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_PREFIX = "v1:"


class SealBrokenError(Exception):
    """A sealed text cannot be opened: it was sealed with another key, or it is damaged."""


class SecretBox:
    """Seals and opens texts (AES-128-CBC and HMAC-SHA-256, as Fernet defines them).

    Args:
        encryption_key: Text of any length with enough randomness in it; the actual key is derived from it, so
            that the same setting can serve other purposes too.
    """

    def __init__(self, encryption_key: str) -> None:
        derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"openmeshagent accounts v1")
        key = derivation.derive(encryption_key.encode())
        self._fernet = Fernet(base64.urlsafe_b64encode(key))

    def seal(self, text: str) -> str:
        """Encrypt; the result differs each time."""
        return _PREFIX + self._fernet.encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """The text again.

        Raises:
            SealBrokenError: See there.
        """
        if not sealed.startswith(_PREFIX):
            raise SealBrokenError("a secret in the accounts database is not in a known form")
        try:
            return self._fernet.decrypt(sealed.removeprefix(_PREFIX).encode()).decode()
        except InvalidToken:
            raise SealBrokenError(
                "a secret in the accounts database was encrypted with another encryption key than this server's"
            ) from None
