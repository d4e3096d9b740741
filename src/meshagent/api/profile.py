"""The profile: the server that a user's programs connect to, and the key that they sign tokens with.

A server writes it at its first start, so that programs on the same machine need no environment variables; these take
precedence. It is one JSON object, readable by its owner only, at
`$MESHAGENT_PROFILE` or `~/.meshagent/profile.json`.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from meshagent.api.errors import InvalidRequestError, NotFoundError
from meshagent.api.tokens.api_key import ApiKey

DEFAULT_API_URL = "http://localhost:8080"
"""The server if neither environment nor profile names one: on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The content of the profile; None for what is not set. `admin_token` gives access to the accounts REST API."""

    api_url: str | None = None
    project_id: str | None = None
    key_id: str | None = None
    secret: str | None = field(default=None, repr=False)
    admin_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The key that signs tokens. Without `key_id` the secret is the default secret of a server."""

    project_id: str | None
    key_id: str | None
    secret: str = field(repr=False)


def profile_path(environ: Mapping[str, str] | None = None) -> Path:
    """The path of the profile: `MESHAGENT_PROFILE`, else `~/.meshagent/profile.json`."""
    chosen = (os.environ if environ is None else environ).get("MESHAGENT_PROFILE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".meshagent" / "profile.json"


def load_profile(path: Path | None = None) -> Profile:
    """Read the profile; it is empty if there is no file. Unknown members are ignored.

    Raises:
        InvalidRequestError: The file cannot be read, or is not a profile; the text names it.
    """
    path = path or profile_path()
    try:
        data = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return Profile()
    except (OSError, ValueError) as error:
        raise InvalidRequestError(f"cannot read the profile {path}: {error}") from None
    known = {item.name for item in fields(Profile)}
    values = {key: value for key, value in data.items() if key in known} if isinstance(data, dict) else None
    if values is None or not all(value is None or isinstance(value, str) for value in values.values()):
        raise InvalidRequestError(f"the profile {path} must be a JSON object whose values are strings")
    return Profile(**values)


def save_profile(profile: Profile, path: Path | None = None) -> Path:
    """Write the profile atomically, readable by its owner only; returns its path."""
    path = path or profile_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    data = {key: value for key, value in asdict(profile).items() if value is not None}
    write_private(path, json.dumps(data, indent=2) + "\n")
    return path


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically, with mode 0600; after a power cut it has the old or the new text."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # made with mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def api_base_url(environ: Mapping[str, str] | None = None) -> str:
    """The server's base URL, without a trailing slash: `MESHAGENT_API_URL`, else the profile's, else this machine."""
    environ = os.environ if environ is None else environ
    url = environ.get("MESHAGENT_API_URL") or load_profile(profile_path(environ)).api_url or DEFAULT_API_URL
    return url.rstrip("/")


def find_credentials(environ: Mapping[str, str] | None = None) -> Credentials:
    """The key that this program signs tokens with.

    The first of these that has a secret: `MESHAGENT_SECRET` (with `MESHAGENT_PROJECT_ID` and `MESHAGENT_KEY_ID`),
    `MESHAGENT_API_KEY` in its one-line form, the profile. Ids and secret are taken from one source:
    ids in the environment that differ from those of the secret's source are an error.

    Raises:
        NotFoundError: None of them has a secret; the text says how to get one.
        InvalidRequestError: The ids contradict each other, or a source cannot be read.
    """
    environ = os.environ if environ is None else environ
    project_id = environ.get("MESHAGENT_PROJECT_ID") or None
    key_id = environ.get("MESHAGENT_KEY_ID") or None
    if secret := environ.get("MESHAGENT_SECRET"):
        return Credentials(project_id=project_id, key_id=key_id, secret=secret)
    source, found = "MESHAGENT_API_KEY", None
    if compact := environ.get("MESHAGENT_API_KEY"):
        key = ApiKey.decode(compact)
        found = Credentials(project_id=key.project_id, key_id=key.key_id, secret=key.secret)
    else:
        path = profile_path(environ)
        profile = load_profile(path)
        source = f"the profile {path}"
        if profile.secret:
            found = Credentials(project_id=profile.project_id, key_id=profile.key_id, secret=profile.secret)
    if found is None:
        raise NotFoundError(
            "no key to sign tokens with: start a server on this machine with `meshagent serve`, or set "
            "MESHAGENT_PROJECT_ID, MESHAGENT_KEY_ID and MESHAGENT_SECRET (or MESHAGENT_API_KEY)"
        )
    if project_id not in (None, found.project_id) or key_id not in (None, found.key_id):
        raise InvalidRequestError(
            f"MESHAGENT_PROJECT_ID or MESHAGENT_KEY_ID does not match {source}: set MESHAGENT_SECRET as well"
        )
    return found
