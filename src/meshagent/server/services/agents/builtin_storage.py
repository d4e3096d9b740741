"""The toolkit `storage`, which every room has: its files, for agents that use tools instead of the room's API.

Each tool needs the same grant on the path as the room operation that does the same.
"""

from __future__ import annotations

import posixpath
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, Protocol
from urllib.parse import unquote, urlsplit

from meshagent.api.contracts.agents import RegisteredTool
from meshagent.api.contracts.content import Body, FileBody, JsonBody, LinkBody, TextBody
from meshagent.api.errors import InvalidRequestError, NotFoundError
from meshagent.api.tokens.grants import StorageAction
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.kernel.participant import Participant
from meshagent.server.outgoing.client import OutgoingClient
from meshagent.server.services.room_files import OpenedFile
from meshagent.server.stores.files import FileInfo
from meshagent.server.stores.paths import normalize_path

MAX_READ_BYTES: Final = 16 * 1024 * 1024
"""Larger files are refused; `get_file_download_url` serves them."""

_TEXT_TYPES: Final = ("application/json", "application/xml", "application/yaml", "application/toml")


class ToolFiles(Protocol):
    """The files of a room, as far as the tools need them; implemented by `RoomFiles`."""

    max_file_bytes: int

    async def stat(self, path: str) -> FileInfo | None: ...

    async def list_folder(self, path: str) -> list[FileInfo]: ...

    async def read(self, path: str) -> OpenedFile: ...

    async def write_file(
        self,
        path: str,
        content: bytes | AsyncIterator[bytes],
        *,
        overwrite: bool = True,
        participant_id: str | None = None,
        scope: ApiScope | None = None,
    ) -> FileInfo: ...


class StorageToolkit:
    """A `BuiltInToolkit` over the room's files.

    Args:
        files: The room's files.
        download_url: Makes a signed URL for a path that was checked.
        http: Fetches what `save_file_from_url` saves.
    """

    title = "Storage"
    description = "Lists, reads and writes the files of this room."

    def __init__(self, files: ToolFiles, download_url: Callable[[str], str], http: OutgoingClient) -> None:
        self._files = files
        self._download_url = download_url
        self._http = http
        self._run: dict[str, Callable[[Participant, Mapping[str, Any]], Awaitable[Body]]] = {
            "list_files_in_room": self._list,
            "read_file": self._read,
            "write_file": self._write,
            "get_file_download_url": self._url,
            "save_file_from_url": self._save,
        }

    def tools(self) -> Mapping[str, RegisteredTool]:
        return _TOOLS

    async def invoke(self, caller: Participant, tool: str, arguments: Any, payload: bytes) -> Body:
        """Run one tool.

        Raises:
            InvalidRequestError: The arguments do not fit the tool's schema.
            PermissionDeniedError: The caller's token does not allow it on this path.
            RoomException: As the storage operation, or the request for `save_file_from_url`, fails.
        """
        run = self._run.get(tool)
        if run is None:
            raise NotFoundError(f"toolkit 'storage' has no tool {tool!r}")
        if not isinstance(arguments, dict):
            raise InvalidRequestError("the tool's arguments must be an object")
        return await run(caller, arguments)

    async def _list(self, caller: Participant, arguments: Mapping[str, Any]) -> Body:
        path = _path(caller, arguments, "list", default="")
        entries = await self._files.list_folder(path)
        return JsonBody(json={"files": [entry.fields() for entry in entries]})

    async def _read(self, caller: Participant, arguments: Mapping[str, Any]) -> Body:
        path = _path(caller, arguments, "read")
        async with await self._files.read(path) as file:
            if file.size > MAX_READ_BYTES:
                raise InvalidRequestError(
                    f"{path!r} is too large for read_file ({file.size} bytes): use get_file_download_url"
                )
            content = await file.read()
        text = _as_text(file.media_type, content)
        if text is not None:
            return TextBody(text=text)
        return FileBody(data=content, name=file.name, mime_type=file.media_type)

    async def _write(self, caller: Participant, arguments: Mapping[str, Any]) -> Body:
        path = _path(caller, arguments, "write")
        content = _string(arguments, "text").encode("utf-8", "replace")
        await self._files.write_file(
            path, content, overwrite=_flag(arguments, "overwrite"), participant_id=caller.id, scope=caller.scope
        )
        return TextBody(text=f"wrote {len(content)} bytes to {path}")

    async def _url(self, caller: Participant, arguments: Mapping[str, Any]) -> Body:
        path = _path(caller, arguments, "presign")
        info = await self._files.stat(path)
        if info is None or info.is_folder:
            raise NotFoundError(f"there is no file at {path!r}")
        return LinkBody(name=info.name, url=self._download_url(path))

    async def _save(self, caller: Participant, arguments: Mapping[str, Any]) -> Body:
        url = _string(arguments, "url")
        path = _path(caller, arguments, "write", default=_name_in(url))
        async with self._http.get(url, max_bytes=self._files.max_file_bytes) as download:
            info = await self._files.write_file(
                path,
                download.chunks,
                overwrite=_flag(arguments, "overwrite"),
                participant_id=caller.id,
                scope=caller.scope,
            )
        return TextBody(text=f"saved {info.size} bytes to {path}")


def _path(caller: Participant, arguments: Mapping[str, Any], action: StorageAction, default: str | None = None) -> str:
    """The normalized path of a tool call, after a check of the caller's grant."""
    given = arguments.get("path")
    path = normalize_path(_string(arguments, "path") if given is not None or default is None else default)
    if not path and action != "list":
        raise InvalidRequestError("the argument 'path' must name a file")
    caller.scope.require_storage(path, action)
    return path


def _string(arguments: Mapping[str, Any], name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str):
        raise InvalidRequestError(f"the argument {name!r} must be a string")
    return value


def _flag(arguments: Mapping[str, Any], name: str) -> bool:
    value = arguments.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidRequestError(f"the argument {name!r} must be true or false")
    return bool(value)


def _name_in(url: str) -> str:
    """The file name at the end of a URL; "" if there is none."""
    try:
        return posixpath.basename(unquote(urlsplit(url).path)).replace("\\", "_")
    except ValueError:
        return ""


def _as_text(media_type: str, content: bytes) -> str | None:
    """The content as text; None if it is not text."""
    if not media_type.startswith("text/") and media_type not in _TEXT_TYPES:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _tool(title: str, description: str, required: list[str], **properties: dict[str, Any]) -> RegisteredTool:
    return RegisteredTool(
        title=title,
        description=description,
        input_schema={
            "type": "object",
            "additionalProperties": False,
            "required": required,
            "properties": properties,
        },
    )


_FILE: Final = {"type": "string", "description": "the path of the file in this room, such as notes/today.md"}
_OVERWRITE: Final = {"type": "boolean", "description": "whether a file that exists may be replaced"}

# Every property is required, because the strict mode of language model APIs demands it. Callers may still leave out
# those that have a natural default.
_TOOLS: Final[Mapping[str, RegisteredTool]] = {
    "list_files_in_room": _tool(
        "List files",
        "List the files and folders in a folder of this room, not those further down.",
        ["path"],
        path={"type": "string", "description": "the folder; an empty text is the top"},
    ),
    "read_file": _tool("Read a file", "Read a file of this room.", ["path"], path=_FILE),
    "write_file": _tool(
        "Write a file",
        "Write a text file in this room.",
        ["path", "text", "overwrite"],
        path=_FILE,
        text={"type": "string", "description": "what the file is to hold"},
        overwrite=_OVERWRITE,
    ),
    "get_file_download_url": _tool(
        "Get a download URL", "Get a URL by which anybody can fetch a file for some time.", ["path"], path=_FILE
    ),
    "save_file_from_url": _tool(
        "Save a file from the web",
        "Fetch a URL and save what it holds as a file in this room.",
        ["url", "path", "overwrite"],
        url={"type": "string", "description": "an http or https URL"},
        path=_FILE,
        overwrite=_OVERWRITE,
    ),
}
