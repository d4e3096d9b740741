"""An API key as one line of text: `ma-` + key id + `-` + project id + `-` + secret.

Each id is the 16 bytes of its UUID in URL-safe base64 without padding, with `-` written as `.`, so that only
the separators are dashes; the secret is kept as it is and may hold dashes (protocol 4.6).
"""

from __future__ import annotations

import base64
import binascii
import uuid
from dataclasses import dataclass, field

from meshagent.api.errors import InvalidRequestError

_PREFIX = "ma-"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A project's key and its secret, which sign tokens. The ids are UUIDs as strings."""

    project_id: str
    key_id: str
    secret: str = field(repr=False)

    def encode(self) -> str:
        """The one-line form.

        Raises:
            InvalidRequestError: An id is not a UUID in lower-case text form; such keys need three variables.
        """
        return f"{_PREFIX}{_pack(self.key_id)}-{_pack(self.project_id)}-{self.secret}"

    @staticmethod
    def decode(text: str) -> ApiKey:
        """The key of its one-line form.

        Raises:
            InvalidRequestError: It is not such a text; the message does not repeat it.
        """
        parts = text.strip().removeprefix(_PREFIX).split("-", 2)
        if not text.strip().startswith(_PREFIX) or len(parts) != 3 or not parts[2]:
            raise InvalidRequestError("an API key must have the form 'ma-KEY-PROJECT-SECRET'")
        return ApiKey(key_id=_unpack(parts[0]), project_id=_unpack(parts[1]), secret=parts[2])


def _pack(identifier: str) -> str:
    try:
        value = uuid.UUID(identifier)
    except ValueError:
        value = None
    if value is None or str(value) != identifier:
        raise InvalidRequestError(f"the one-line form of an API key needs UUIDs as ids, not {identifier!r}")
    return base64.urlsafe_b64encode(value.bytes).decode().rstrip("=").replace("-", ".")


def _unpack(text: str) -> str:
    try:
        raw = base64.b64decode(text.replace(".", "-") + "==", altchars=b"-_", validate=True)
        return str(uuid.UUID(bytes=raw))
    except (binascii.Error, ValueError):
        raise InvalidRequestError("an id in the API key must be 22 characters of base64") from None
