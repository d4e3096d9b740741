"""Who this server is: its default project, that project's key, and what the server needs to keep secret.

What the configuration gives is used and never written down. The rest is made at the first start and kept in
`server.json` in the data folder, readable by its owner only.
"""

from __future__ import annotations

import json
import secrets
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from meshagent.api.profile import Profile, save_profile, write_private
from meshagent.server.config import ServerConfig

FILE_NAME = "server.json"
_SECRET_BYTES = 32


class IdentityError(Exception):
    """`server.json` cannot be read; starting anyway would lock out everybody who holds a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerIdentity:
    """The default project and key, and the server's own secrets.

    Attributes:
        project_id: The default project.
        key_id: Its default key.
        secret: That key's secret; it also verifies tokens that name no key.
        admin_token: Opens the whole accounts API.
        encryption_key: Text from which the key for secrets at rest is derived.
        is_new: Whether this start made the key, so that it should be shown once.
        is_given: Whether the configuration gave the key, whose owner then knows it.
    """

    project_id: str
    key_id: str
    secret: str = field(repr=False)
    admin_token: str = field(repr=False)
    encryption_key: str = field(repr=False)
    is_new: bool
    is_given: bool


def load_identity(config: ServerConfig) -> ServerIdentity:
    """The identity of the server with this configuration; makes the data folder and what is missing.

    Call it from one process at a time: the server holds the data folder's lock when it does.

    Raises:
        IdentityError: The kept file is damaged.
        OSError: The data folder cannot be made or written.
    """
    config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = config.data_dir / FILE_NAME
    kept = _read(path)
    given = {
        "project_id": config.project_id,
        "key_id": config.key_id,
        "secret": _revealed(config.secret),
        "admin_token": _revealed(config.admin_token),
        "encryption_key": _revealed(config.encryption_key),
    }
    made = {name: _make(name) for name, value in given.items() if value is None and name not in kept}
    if made:
        write_private(path, json.dumps(kept | made, indent=2) + "\n")
    values = kept | made | {name: value for name, value in given.items() if value is not None}
    return ServerIdentity(
        project_id=values["project_id"],
        key_id=values["key_id"],
        secret=values["secret"],
        admin_token=values["admin_token"],
        encryption_key=values["encryption_key"],
        is_new="secret" in made,
        is_given=config.secret is not None,
    )


def publish_profile(identity: ServerIdentity, api_url: str, path: Path | None = None) -> Path | None:
    """Tell this user's programs about the server: write the profile, and return where.

    Does nothing and returns None when the configuration gave the key: programs have it from the same place, and
    a container or a test must not replace somebody's profile.
    """
    if identity.is_given:
        return None
    return save_profile(
        Profile(
            api_url=api_url,
            project_id=identity.project_id,
            key_id=identity.key_id,
            secret=identity.secret,
            admin_token=identity.admin_token,
        ),
        path,
    )


def _make(name: str) -> str:
    if name in ("project_id", "key_id"):
        return str(uuid.uuid4())  # UUIDs, so that the key also fits into one line (MESHAGENT_API_KEY)
    return secrets.token_urlsafe(_SECRET_BYTES)


def _read(path: Path) -> dict[str, str]:
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise IdentityError(f"{path} cannot be read: {error}") from None
    if not isinstance(data, dict) or not all(isinstance(value, str) and value for value in data.values()):
        raise IdentityError(f"{path} must be a JSON object of texts")
    return data


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
