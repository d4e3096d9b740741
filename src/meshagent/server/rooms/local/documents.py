"""The documents of a room of this process, for requests."""

from __future__ import annotations

from typing import Any

from meshagent.api.tokens.scope import ApiScope
from meshagent.server.rooms.handle import DocumentChange
from meshagent.server.services.documents.json_changes import json_patched, merge_patched
from meshagent.server.services.documents.service import DocumentsService


class LocalDocuments:
    """Implements `DocumentAccess`."""

    def __init__(self, documents: DocumentsService) -> None:
        self._documents = documents

    async def describe(self, path: str, scope: ApiScope, *, include_ids: bool = False) -> dict[str, Any]:
        scope.require_sync(path, write=False)
        return await self._documents.describe(path, include_ids=include_ids)

    async def change(self, path: str, change: DocumentChange, scope: ApiScope) -> dict[str, Any]:
        scope.require_sync(path, write=True)
        async with self._documents.using(path):  # so that reading and writing see the same document
            content = change.content
            if change.kind != "replacement":
                current = await self._documents.describe(path, include_ids=True)
                patched = json_patched if change.kind == "json-patch" else merge_patched
                content = patched(current, change.content)
            return await self._documents.replace_json(path, content, None)
