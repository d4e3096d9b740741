"""The server's identity: its default project, that project's key, and the server's own secrets.

Configured values are used and never stored. The rest is generated at the first start and stored in
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
    """`server.json` is damaged. A start with new secrets would lock out everybody who holds a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerIdentity:
    """The default project and key, and the server's own secrets.

    Attributes:
        project_id: The default project.
        key_id: Its default key.
        secret: That key's secret; it also verifies tokens that name no key.
        admin_token: Opens the whole accounts API.
        encryption_key: Text from which the key for secrets at rest is derived.
        is_new: Whether this start generated the key; it is then shown once.
        is_configured: Whether the key comes from the configuration.
    """

    project_id: str
    key_id: str
    secret: str = field(repr=False)
    admin_token: str = field(repr=False)
    encryption_key: str = field(repr=False)
    is_new: bool
    is_configured: bool


def load_identity(config: ServerConfig) -> ServerIdentity:
    """Load the server's identity; create the data folder and generate what is missing.

    Call it from one process at a time: the server calls it while it holds the data folder's lock.

    Raises:
        IdentityError: The stored file is damaged.
        OSError: The data folder cannot be created or written.
    """
    config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = config.data_dir / FILE_NAME
    stored = _read(path)
    configured = {
        "project_id": config.project_id,
        "key_id": config.key_id,
        "secret": _secret_value(config.secret),
        "admin_token": _secret_value(config.admin_token),
        "encryption_key": _secret_value(config.encryption_key),
    }
    generated = {name: _generate(name) for name, value in configured.items() if value is None and name not in stored}
    if generated:
        write_private(path, json.dumps(stored | generated, indent=2) + "\n")
    values = stored | generated | {name: value for name, value in configured.items() if value is not None}
    return ServerIdentity(
        project_id=values["project_id"],
        key_id=values["key_id"],
        secret=values["secret"],
        admin_token=values["admin_token"],
        encryption_key=values["encryption_key"],
        is_new="secret" in generated,
        is_configured=config.secret is not None,
    )


def publish_profile(identity: ServerIdentity, api_url: str, path: Path | None = None) -> Path | None:
    """Write the profile from which this user's programs know the server, and return its path.

    Does nothing and returns None when the key is configured: programs get it from the same place, and a container
    or a test must not replace somebody's profile.
    """
    if identity.is_configured:
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


def _generate(name: str) -> str:
    if name in ("project_id", "key_id"):
        return str(uuid.uuid4())  # UUIDs, so that the key also fits into one line (MESHAGENT_API_KEY)
    return secrets.token_urlsafe(_SECRET_BYTES)


def _read(path: Path) -> dict[str, str]:
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise IdentityError(f"cannot read {path}: {error}") from None
    if not isinstance(data, dict) or not all(isinstance(value, str) and value for value in data.values()):
        raise IdentityError(f"{path} must be a JSON object whose values are non-empty strings")
    return data


def _secret_value(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
