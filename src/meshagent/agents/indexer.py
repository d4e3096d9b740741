"""Retrieval over a room's files: `StorageIndexer` maintains a vector index, `RagToolkit` searches it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field

from meshagent.agents.agent import SingleRoomAgent
from meshagent.agents.embedding import Embedder, HashingEmbedder
from meshagent.agents.text_chunks import split_text
from meshagent.api.contracts.data_types import FloatDataType, IntDataType, TextDataType, VectorDataType
from meshagent.api.contracts.database import Row
from meshagent.api.errors import (
    ConnectionLostError,
    InvalidRequestError,
    NotFoundError,
    RequestTimeoutError,
    RoomException,
)
from meshagent.api.room.descriptions import Requirement
from meshagent.api.room.tasks import OwnedTasks
from meshagent.tools.context import ToolContext
from meshagent.tools.function_tool import FunctionTool
from meshagent.tools.toolkit import Toolkit

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient
    from meshagent.api.room.database import DatabaseClient
    from meshagent.api.room.files import StorageEntry

__all__ = ["DEFAULT_TABLE", "RagToolkit", "StorageIndexer"]

log = logging.getLogger(__name__)

DEFAULT_TABLE: Final = "storage_index"
MAX_FILE_BYTES: Final = 5_000_000
EMBEDDING_BATCH_SIZE: Final = 64
ALL_FILES: Final = ""
"""Stands for a rescan of all files in the queue of changed paths."""


class StorageIndexer(SingleRoomAgent):
    """Maintains a vector index of the room's text files in a table: on start, and whenever a file changes.

    Files are split into chunks; each row holds one chunk and its vector. Hidden files and folders (names that start
    with a dot) and threads are skipped. Override `read_text` to index other kinds of files.

    Args:
        table: The table. It is rebuilt when the embedder changes.
        embedder: Makes the vectors. Default: `HashingEmbedder`, which needs no model.
        chunk_size: Maximum length of a chunk in characters.
        retry_delay: Seconds before a file is retried after the room or the embedder was unavailable.

    Other arguments: as `SingleRoomAgent`.
    """

    def __init__(
        self,
        *,
        table: str = DEFAULT_TABLE,
        embedder: Embedder | None = None,
        chunk_size: int = 1000,
        retry_delay: float = 5.0,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        requires: Sequence[Requirement] = (),
        labels: Sequence[str] = (),
    ) -> None:
        super().__init__(name=name, title=title, description=description, requires=requires, labels=labels)
        self.table = table
        self.embedder: Embedder = HashingEmbedder() if embedder is None else embedder
        self._chunk_size = chunk_size
        self._retry_delay = retry_delay
        self._pending: dict[str, None] = {}  # an ordered set of paths: a file that changes twice is indexed once
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._tasks = OwnedTasks()

    async def read_text(self, path: str) -> str | None:
        """Return the text of a file, or None to skip it. Reads files of type `text/…` and JSON, up to 5 MB."""
        entry = await self.room.storage.stat(path=path)
        if entry is None or entry.is_folder or (entry.size or 0) > MAX_FILE_BYTES:
            return None
        file = await self.room.storage.download(path=path)
        if not file.mime_type.startswith(("text/", "application/json")):
            return None
        return file.data.decode("utf-8", "replace")

    async def until_indexed(self) -> None:
        """Return when all changes known so far are in the index."""
        await self._idle.wait()

    # -- lifecycle

    async def start(self, *, room: RoomClient) -> None:
        """As `SingleRoomAgent.start`; existing files are indexed in the background."""
        await super().start(room=room)
        try:
            await self._prepare_table(room)
        except BaseException:
            await super().stop()
            raise
        for event in ("file.updated", "file.deleted"):
            room.storage.on(event, self._on_changed)
        room.storage.on("file.moved", self._on_moved)
        room.on("reconnected", self._rescan)
        self._rescan()
        self._tasks.start(self._index_pending(), f"indexer {self.name}")

    async def stop(self) -> None:
        """Stop indexing. The index stays in its table."""
        if self._room is not None:
            for event in ("file.updated", "file.deleted"):
                self._room.storage.off(event, self._on_changed)
            self._room.storage.off("file.moved", self._on_moved)
            self._room.off("reconnected", self._rescan)
        await self._tasks.close()
        await super().stop()

    async def _prepare_table(self, room: RoomClient) -> None:
        schema = {
            "id": TextDataType(),
            "path": TextDataType(),
            "chunk": IntDataType(),
            "text": TextDataType(),
            "changed_at": TextDataType(),
            "embedder": TextDataType(),
            "embedding": VectorDataType(size=self.embedder.dimensions, element_type=FloatDataType()),
        }
        database = room.database
        if self.table in await database.list_tables() and await self._is_current(database):
            return
        await database.create_table_with_schema(name=self.table, schema=schema, mode="overwrite")

    async def _is_current(self, database: DatabaseClient) -> bool:
        """Whether the existing table has today's columns, and vectors of this embedder."""
        try:
            rows = await database.search(table=self.table, limit=1, select=["embedder", "chunk"])
        except InvalidRequestError:
            return False  # written by a version with other columns
        return not rows or rows[0]["embedder"] == self.embedder.name

    # -- changes

    def _on_changed(self, path: str) -> None:
        self._add(path)

    def _on_moved(self, source_path: str, destination_path: str) -> None:
        self._add(source_path)
        self._add(destination_path)

    def _rescan(self) -> None:
        """Queue a rescan: changes may have been missed."""
        self._add(ALL_FILES)

    def _add(self, path: str) -> None:
        if path == ALL_FILES or _is_indexed(path):
            self._pending[path] = None
            self._idle.clear()
            self._wake.set()

    async def _index_pending(self) -> None:
        while True:
            if not self._pending:
                self._idle.set()
                self._wake.clear()
                await self._wake.wait()
            path = next(iter(self._pending))
            del self._pending[path]
            try:
                await (self._queue_changed_files() if path == ALL_FILES else self._index(path))
            except (ConnectionLostError, RequestTimeoutError) as error:
                log.info("%s will retry indexing %s: %s", self.name, path or "all files", error)
                self._pending[path] = None
                await asyncio.sleep(self._retry_delay)
            except RoomException as error:
                log.warning("%s cannot index %s: %s", self.name, path or "all files", error)
                if error.retryable:
                    self._pending[path] = None
                    await asyncio.sleep(self._retry_delay)
            except Exception:
                log.exception("%s cannot index %s", self.name, path or "all files")

    # -- indexing

    async def _queue_changed_files(self) -> None:
        """Queue the files that changed since they were indexed, and those that no longer exist."""
        rows = await self.room.database.search(table=self.table, where={"chunk": 0}, select=["path", "changed_at"])
        indexed = {row["path"]: row["changed_at"] for row in rows}
        existing = await self._files("")
        for path, changed_at in existing.items():
            if indexed.get(path) != changed_at:
                self._add(path)
        for path in indexed.keys() - existing.keys():
            self._add(path)

    async def _files(self, folder: str) -> dict[str, str]:
        """Return path and modification time of every indexable file in a folder and below."""
        files: dict[str, str] = {}
        for entry in await self.room.storage.list(path=folder):
            path = f"{folder}/{entry.name}".lstrip("/")
            if not _is_indexed(path):
                continue
            if entry.is_folder:
                files.update(await self._files(path))
            else:
                files[path] = _changed_at(entry)
        return files

    async def _index(self, path: str) -> None:
        """Update the rows of one file, or remove those of all files in a deleted folder."""
        entry = await self.room.storage.stat(path=path)
        try:
            text = None if entry is None else await self.read_text(path)
        except NotFoundError:
            text = None  # deleted after `stat`
        rows = [] if entry is None or text is None else await self._rows(path, text, _changed_at(entry))
        if rows:
            await self.room.database.merge(table=self.table, on="id", records=rows)
        affected = f"path = {_literal(path)}" if entry is not None else _at_or_below(path)
        await self.room.database.delete(table=self.table, where=f"({affected}) AND chunk >= {len(rows)}")

    async def _rows(self, path: str, text: str, changed_at: str) -> list[Row]:
        chunks = split_text(text, self._chunk_size) or [""]  # an empty file has a row too: it counts as indexed
        vectors: list[list[float]] = []
        for start in range(0, len(chunks), EMBEDDING_BATCH_SIZE):
            batch = chunks[start : start + EMBEDDING_BATCH_SIZE]
            vectors += await self.embedder.embed([f"{path}\n{chunk}" for chunk in batch])
        return [
            {
                "id": f"{path}#{number}",
                "path": path,
                "chunk": number,
                "text": chunk,
                "changed_at": changed_at,
                "embedder": self.embedder.name,
                "embedding": vector,
            }
            for number, (chunk, vector) in enumerate(zip(chunks, vectors, strict=True))
        ]


class RagToolkit(Toolkit):
    """The tool `rag_search`: searches the files that a `StorageIndexer` has indexed.

    Args:
        table: The indexer's table.
        embedder: The indexer's embedder.
        name: The toolkit's name.
        rules: Instructions for the model. Default: search before answering, and name the files used.
    """

    def __init__(
        self,
        *,
        table: str = DEFAULT_TABLE,
        embedder: Embedder | None = None,
        name: str = "rag",
        rules: Sequence[str] = (),
    ) -> None:
        self._table = table
        self._embedder: Embedder = HashingEmbedder() if embedder is None else embedder
        super().__init__(
            name=name,
            title="Search files",
            description="Finds relevant text in the files of this room.",
            rules=rules or ["Search the files before you answer a question about them, and name the paths you used."],
            tools=[FunctionTool(self.rag_search)],
        )

    async def rag_search(
        self,
        context: ToolContext,
        query: str,
        limit: Annotated[int, Field(ge=1, le=50)] = 5,
    ) -> list[dict[str, Any]]:
        """Search the room's files for text about a topic.

        Args:
            query: What to search for, in words the files are likely to use.
            limit: Maximum number of results.
        """
        [vector] = await self._embedder.embed([query])
        rows = await context.room.database.search(
            table=self._table, vector=vector, limit=limit, select=["path", "chunk", "text"]
        )
        return [{"path": row["path"], "chunk": row["chunk"], "text": row["text"]} for row in rows if row["text"]]


def _is_indexed(path: str) -> bool:
    parts = path.strip("/").split("/")
    return not any(part.startswith(".") for part in parts) and not path.endswith(".thread")


def _changed_at(entry: StorageEntry) -> str:
    return entry.updated_at.isoformat()


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _at_or_below(path: str) -> str:
    below = path.rstrip("/") + "/"
    return f"path = {_literal(path)} OR starts_with(path, {_literal(below)})"
