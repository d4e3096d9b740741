"""Encryption of secrets at rest, with a key that is not in the database."""

from __future__ import annotations

import base64

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_PREFIX = "v1:"


class DecryptionError(Exception):
    """A text cannot be decrypted: it was encrypted with a different key, or it is damaged."""


class SecretBox:
    """Encrypts and decrypts texts with Fernet (AES-128-CBC and HMAC-SHA-256).

    Args:
        encryption_key: Random text of any length. The actual key is derived from it, so that the same setting can
            serve other purposes.
    """

    def __init__(self, encryption_key: str) -> None:
        derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"openmeshagent accounts v1")
        key = derivation.derive(encryption_key.encode())
        self._fernet = Fernet(base64.urlsafe_b64encode(key))

    def encrypt(self, text: str) -> str:
        """Return the encrypted text, which differs each time."""
        return _PREFIX + self._fernet.encrypt(text.encode()).decode()

    def decrypt(self, encrypted: str) -> str:
        """Return the original text.

        Raises:
            DecryptionError: The text was encrypted with a different key, or is damaged.
        """
        if not encrypted.startswith(_PREFIX):
            raise DecryptionError("cannot decrypt a secret in the accounts database: unknown format")
        try:
            return self._fernet.decrypt(encrypted.removeprefix(_PREFIX).encode()).decode()
        except InvalidToken:
            raise DecryptionError(
                "cannot decrypt a secret in the accounts database: it was encrypted with a different encryption key"
            ) from None
