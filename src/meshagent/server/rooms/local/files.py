"""The files of a room of this process, for requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from meshagent.api.contracts.storage import MoveRequest
from meshagent.api.errors import LimitExceededError, NotFoundError
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.rooms.handle import FileContent
from meshagent.server.services.storage import StorageService
from meshagent.server.stores.conditions import ChangeCondition
from meshagent.server.stores.files import FileInfo
from meshagent.server.stores.paths import normalize_path


class LocalFiles:
    """Implements `FileAccess`."""

    def __init__(self, storage: StorageService) -> None:
        self._storage = storage

    async def open(self, path: str, scope: ApiScope) -> FileContent:
        scope.require_storage(normalize_path(path), "read")
        return await self._storage.read(path)

    async def list_folder(self, path: str, scope: ApiScope, *, must_exist: bool = False) -> Sequence[FileInfo]:
        if must_exist and not await self._storage.exists(path):
            raise NotFoundError(f"there is no file or folder at {normalize_path(path)!r}")
        scope.require_storage(normalize_path(path), "list")
        return await self._storage.list_folder(path)

    async def write(
        self,
        path: str,
        content: AsyncIterator[bytes],
        scope: ApiScope,
        *,
        overwrite: bool = True,
        condition: ChangeCondition | None = None,
        announced_size: int | None = None,
    ) -> FileInfo:
        scope.require_storage(normalize_path(path), "write")
        limit = self._storage.max_file_bytes
        if announced_size is not None and announced_size > limit:
            raise LimitExceededError(f"a file has {limit} bytes at most", limit=limit)
        return await self._storage.write_file(path, content, overwrite=overwrite, condition=condition, scope=scope)

    async def delete(
        self, path: str, scope: ApiScope, *, recursive: bool = False, condition: ChangeCondition | None = None
    ) -> None:
        scope.require_storage(normalize_path(path), "delete")
        if recursive:
            await self._storage.require_below(scope, normalize_path(path), "delete")
        await self._storage.delete(path, recursive=recursive, condition=condition)

    async def move(self, source: str, destination: str, scope: ApiScope, *, overwrite: bool = False) -> None:
        request = MoveRequest(source_path=source, destination_path=destination, overwrite=overwrite)
        await self._storage.require_move(scope, request)
        await self._storage.move(source, destination, overwrite=overwrite, scope=scope)
