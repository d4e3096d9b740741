"""A token that allows reading a document and not editing it, at wire level (protocol 7.4)."""

from __future__ import annotations

import base64

from meshagent.api.tokens.scope import ApiScope
from tests.support.documents import Copy
from tests.support.server import TestServer
from tests.support.wire_client import join


async def test_who_may_only_read_a_document_changes_nothing(server: TestServer) -> None:
    scope = ApiScope.from_json({"sync": {"paths": [{"path": "a.document", "read_only": True}]}})
    token = server.token("reader", scope=scope)
    async with join(server, "writer") as writer, join(server, token=token) as reader:
        await writer.open_document("a.document")
        _, state = await reader.open_document("a.document")
        update = Copy(state).append("heading", **{"$id": "x", "text": "not allowed"})
        assert "not allow" in await reader.error("room.create", {"path": "b.document"})
        assert "not allow" in await reader.error("room.connect", {"path": "b.document"})
        await reader.ok("room.sync", {"path": "a.document"}, base64.b64encode(update))
        described = await writer.ok("room.describe", {"path": "a.document"})
        assert described["document"]["content"] == []
