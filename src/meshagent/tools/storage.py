"""`StorageToolkit`: tools for the room's files."""

from __future__ import annotations

from typing import Any

from meshagent.api.contracts.content import FileBody, LinkBody
from meshagent.api.errors import LimitExceededError, NotFoundError
from meshagent.tools.context import ToolContext
from meshagent.tools.fetching import Fetcher
from meshagent.tools.function_tool import Function, function_tools
from meshagent.tools.toolkit import Toolkit

__all__ = ["StorageToolkit"]

MAX_READ_BYTES = 10 * 1024 * 1024


class StorageToolkit(Toolkit):
    """Tools for files: `list_files_in_room`, `read_file` and `get_file_download_url`; unless read-only, also
    `write_file` and `save_file_from_url`.

    Args:
        read_only: Exclude the tools that write.
        fetcher: Downloads for `save_file_from_url`. Default: public addresses only, at most 10 MB and 30 seconds.
        max_read_bytes: Maximum size of a file that `read_file` returns.
    """

    def __init__(
        self, *, read_only: bool = False, fetcher: Fetcher | None = None, max_read_bytes: int = MAX_READ_BYTES
    ) -> None:
        self._fetcher = fetcher if fetcher is not None else Fetcher()
        self._max_read_bytes = max_read_bytes
        reading: list[Function] = [self._list_files_in_room, self._read_file, self._get_file_download_url]
        writing: list[Function] = [] if read_only else [self._write_file, self._save_file_from_url]
        super().__init__(
            name="storage",
            title="Storage",
            description="The files of the room.",
            tools=function_tools(*reading, *writing),
        )

    async def _list_files_in_room(self, context: ToolContext, path: str = "") -> dict[str, Any]:
        """List the files and folders in a folder of the room.

        Args:
            path: Path of the folder. Empty for the root folder.
        """
        entries = await context.room.storage.list(path)
        return {
            "files": [
                {
                    "name": entry.name,
                    "is_folder": entry.is_folder,
                    "size": entry.size,
                    "updated_at": entry.updated_at.isoformat(),
                }
                for entry in entries
            ]
        }

    async def _read_file(self, context: ToolContext, path: str) -> FileBody:
        """Read a file of the room.

        Args:
            path: Path of the file.
        """
        found = await context.room.storage.stat(path)
        if found is None or found.is_folder:
            raise NotFoundError(f"no such file: {path!r}")
        if found.size is not None and found.size > self._max_read_bytes:
            limit = self._max_read_bytes
            raise LimitExceededError(f"{path!r} has {found.size} bytes; the limit is {limit}", limit=limit)
        return await context.room.storage.download(path)

    async def _get_file_download_url(self, context: ToolContext, path: str) -> LinkBody:
        """Create a link for downloading a file of the room. The link expires.

        Args:
            path: Path of the file.
        """
        return LinkBody(name=path.rpartition("/")[2], url=await context.room.storage.download_url(path))

    async def _write_file(self, context: ToolContext, path: str, text: str, overwrite: bool = False) -> str:
        """Write a text file in the room.

        Args:
            path: Path of the file. Missing folders are created.
            text: Content of the file.
            overwrite: Whether to replace an existing file.
        """
        async with context.room.storage.open(path, overwrite=overwrite) as file:
            await file.write(text)
        return f"wrote {path}"

    async def _save_file_from_url(self, context: ToolContext, url: str, path: str, overwrite: bool = False) -> str:
        """Download a file from the web into the room.

        Args:
            url: URL of the file, starting with http:// or https://.
            path: Path of the file to write. Missing folders are created.
            overwrite: Whether to replace an existing file.
        """
        fetched = await self._fetcher.fetch(url)
        async with context.room.storage.open(path, overwrite=overwrite) as file:
            await file.write(fetched.data)
        return f"wrote {path}, {len(fetched.data)} bytes of {fetched.mime_type}"
