"""Documents for a scripted server: stored as CRDTs, synchronised as a room does."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

import pycrdt

from meshagent.api.documents.schema import ChildProperty, ElementType, MeshSchema, ValueProperty
from meshagent.api.errors import NotFoundError
from tests.support.scripted_server import ScriptedServer

SCHEMA = MeshSchema(
    root_tag_name="list",
    elements=[
        ElementType(tag_name="list", properties=[ChildProperty(name="items", child_tag_names=["item"])]),
        ElementType(tag_name="item", properties=[ValueProperty(name="text", type="string")]),
    ],
)


class ScriptedDocuments:
    """Serves `room.connect` and `room.sync` on servers; the documents outlive their connections.

    Attributes:
        stored: The documents by path.
        vectors: What clients said they have, for each `room.connect`; None where they said nothing.
        updates: How many updates were taken.
    """

    def __init__(self) -> None:
        self.stored: dict[str, pycrdt.Doc[Any]] = {}
        self.vectors: list[str | None] = []
        self.updates = 0

    def attach(self, server: ScriptedServer) -> None:
        """Serve the documents on a connection."""

        def connect(header: dict[str, Any], payload: bytes) -> object:
            if header["path"] not in self.stored and not header["create"]:
                raise NotFoundError("no such document")
            self.stored.setdefault(header["path"], pycrdt.Doc())
            return {"schema": SCHEMA.to_json()}

        async def send_state(header: dict[str, Any], payload: bytes) -> None:
            vector = header.get("vector")
            self.vectors.append(vector)
            doc = self.stored[header["path"]]
            update = doc.get_update(b64decode(vector)) if vector else doc.get_update()
            await server.event("room.sync", {"path": header["path"]}, b64encode(update))

        def take(header: dict[str, Any], payload: bytes) -> object:
            self.updates += 1
            self.stored[header["path"]].apply_update(b64decode(payload))
            return None

        server.replies["room.connect"] = connect
        server.follow_ups["room.connect"] = send_state
        server.replies["room.sync"] = take
