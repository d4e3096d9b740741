"""URLs of calls that the server answers itself: `…/schemas/NAME` and `…/toolkits/NAME` (protocol 9.10).

Agents of the 0.5 generation call them to install what they require. They build the URL from the address that they
know the server by, which may be another than the server's own view of it, or one that is no longer in use.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final, Literal, Protocol
from urllib.parse import unquote, urlsplit

from meshagent.api.documents.builtin import builtin_schema, builtin_schema_names
from meshagent.api.errors import AlreadyExistsError, NotFoundError

_HOSTED_SERVICE: Final = "https://api.meshagent.com"
"""The address that agents use when no other is configured. Calls of built-in targets there are answered here."""

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})  # noqa: S104 - compared only
_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}

Kind = Literal["schemas", "toolkits"]


class SchemaFolder(Protocol):
    """The files of a room, as far as schemas need them; implemented by `RoomFiles`."""

    async def exists(self, path: str) -> bool: ...

    async def write_file(self, path: str, content: bytes, *, overwrite: bool) -> object:
        """Store a file; raises AlreadyExistsError when there is one and `overwrite` is false."""
        ...


@dataclass(frozen=True, slots=True)
class BuiltInTarget:
    """A schema or toolkit that a call asks for."""

    kind: Kind
    name: str


class BuiltInTargets:
    """Recognises and answers calls of built-in targets.

    On the server's own address every such path is a built-in target, even if its name is unknown. On any other
    address only a known name is.

    Args:
        own_urls: The server's addresses, `http://host:port`; asked for at each call.
        toolkits: Names of the toolkits that every room has.
    """

    def __init__(self, own_urls: Callable[[], Iterable[str]], toolkits: Collection[str]) -> None:
        self._own_urls = own_urls
        self._toolkits = toolkits

    def find(self, url: str) -> BuiltInTarget | None:
        """The built-in target that a URL names; None if the URL has to be called."""
        for base in (*self._own_urls(), _HOSTED_SERVICE):
            path = _path_below(url, base)
            if path is not None and (target := _target(path)) is not None:
                return target
        try:
            target = _target(urlsplit(url).path)
        except ValueError:
            return None  # not a URL; the call that follows fails with a clear error
        return target if target is not None and self.is_known(target) else None

    def is_known(self, target: BuiltInTarget) -> bool:
        """Whether the server has the target."""
        return target.name in (builtin_schema_names() if target.kind == "schemas" else self._toolkits)

    async def install(self, target: BuiltInTarget, files: SchemaFolder) -> None:
        """Install what the target names. Installing it again is harmless.

        A schema is put into the room's `.schemas` folder, unless the room has one of that name, which may be its
        own. A toolkit is there already.

        Raises:
            NotFoundError: There is no built-in schema or toolkit of that name.
        """
        if not self.is_known(target):
            raise NotFoundError(f"there is no built-in {target.kind.removesuffix('s')} {target.name!r}")
        if target.kind == "toolkits":
            return
        path = f".schemas/{target.name}.json"
        if await files.exists(path):
            return
        try:
            await files.write_file(path, schema_text(target.name), overwrite=False)
        except AlreadyExistsError:  # another call installed it meanwhile
            pass


def schema_text(name: str) -> bytes:
    """A built-in schema as JSON.

    Raises:
        NotFoundError: There is no such schema.
    """
    schema = builtin_schema(name)
    if schema is None:
        raise NotFoundError(f"there is no built-in schema {name!r}")
    return json.dumps(schema.to_json()).encode()


def _target(path: str) -> BuiltInTarget | None:
    parts = path.strip("/").split("/")
    if len(parts) != 2 or not parts[1]:
        return None
    name = unquote(parts[1])
    if parts[0] == "schemas":
        return BuiltInTarget("schemas", name)
    if parts[0] == "toolkits":
        return BuiltInTarget("toolkits", name)
    return None


def _path_below(url: str, base: str) -> str | None:
    """The path of `url` below `base`, if both name one server; all names of the loopback interface are equal."""
    if _place(url) != _place(base):
        return None
    path, folder = urlsplit(url).path, urlsplit(base).path.rstrip("/")
    return path.removeprefix(folder) if path.startswith(folder + "/") else None


def _place(url: str) -> tuple[str, int | None] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    host = (parts.hostname or "").rstrip(".")
    return ("localhost" if host in _LOOPBACK else host), port
