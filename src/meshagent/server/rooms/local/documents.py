"""The documents of a room of this process, for requests."""

from __future__ import annotations

from meshagent.api.tokens.scope import ApiScope
from meshagent.server.rooms.handle import DocumentChange, DocumentState
from meshagent.server.services.documents.json_changes import json_patched, merge_patched
from meshagent.server.services.documents.service import DocumentsService
from meshagent.server.stores.conditions import ChangeCondition


class LocalDocuments:
    """Implements `DocumentAccess`."""

    def __init__(self, documents: DocumentsService) -> None:
        self._documents = documents

    async def describe(self, path: str, scope: ApiScope, *, include_ids: bool = False) -> DocumentState:
        scope.require_sync(path, write=False)
        async with self._documents.using(path):  # so that both answers are of the same state
            content = await self._documents.describe(path, include_ids=True)
            if not include_ids:
                content = await self._documents.describe(path)
            return DocumentState(content, await self._documents.version(path))

    async def change(
        self, path: str, change: DocumentChange, scope: ApiScope, *, condition: ChangeCondition | None = None
    ) -> DocumentState:
        scope.require_sync(path, write=True)
        async with self._documents.using(path):  # so that reading and writing see the same document
            content = change.content
            if change.kind != "replacement" or condition is not None:
                current = await self._documents.describe(path, include_ids=True)
                if condition is not None:
                    condition.check((await self._documents.version(path),))
                if change.kind != "replacement":
                    patched = json_patched if change.kind == "json-patch" else merge_patched
                    content = patched(current, change.content)
            changed = await self._documents.replace_json(path, content, None)
            return DocumentState(changed, await self._documents.version(path))
