"""Finding passages in the files of a room: `StorageIndexer` keeps an index of them, `RagToolkit` searches it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field

from meshagent.agents.agent import SingleRoomAgent
from meshagent.agents.embedding import Embedder, HashingEmbedder
from meshagent.agents.text_chunks import passages
from meshagent.api.contracts.data_types import FloatDataType, IntDataType, TextDataType, VectorDataType
from meshagent.api.contracts.database import Row
from meshagent.api.errors import ConnectionLostError, NotFoundError, RequestTimeoutError, RoomException
from meshagent.api.room._tasks import OwnedTasks
from meshagent.api.room.descriptions import Requirement
from meshagent.tools.context import ToolContext
from meshagent.tools.function_tool import FunctionTool
from meshagent.tools.toolkit import Toolkit

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient
    from meshagent.api.room.files import StorageEntry

__all__ = ["DEFAULT_TABLE", "RagToolkit", "StorageIndexer"]

log = logging.getLogger(__name__)

DEFAULT_TABLE: Final = "storage_index"
MAX_FILE_BYTES: Final = 5_000_000
EMBED_AT_ONCE: Final = 64
ALL_FILES: Final = ""


class StorageIndexer(SingleRoomAgent):
    """Keeps an index of a room's text files in a table: when it starts, and whenever a file changes.

    Each file is cut into passages; a row holds one with its vector. Files below folders whose names begin with a
    dot are left out, and so are threads. Override `read_text` to index other kinds of files.

    Args:
        table: The table; it is made anew for another embedder.
        embedder: Makes the vectors; by default one that needs no model.
        passage_size: Characters of a passage, about.
        retry_delay: Seconds before a file is tried again for which the room or the embedder was not there.

    Other arguments: as `SingleRoomAgent`.
    """

    def __init__(
        self,
        *,
        table: str = DEFAULT_TABLE,
        embedder: Embedder | None = None,
        passage_size: int = 1000,
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
        self._passage_size = passage_size
        self._retry_delay = retry_delay
        self._waiting: dict[str, None] = {}  # paths in order, each once; `ALL_FILES` stands for a look at all files
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._tasks = OwnedTasks()

    async def read_text(self, path: str) -> str | None:
        """The text of a file; None for a file that has none. By default the types are `text/…` and JSON, up to 5 MB."""
        entry = await self.room.storage.stat(path=path)
        if entry is None or entry.is_folder or (entry.size or 0) > MAX_FILE_BYTES:
            return None
        file = await self.room.storage.download(path=path)
        if not file.mime_type.startswith(("text/", "application/json")):
            return None
        return file.data.decode("utf-8", "replace")

    async def until_indexed(self) -> None:
        """Return when all changes that are known are in the index."""
        await self._idle.wait()

    # -- life

    async def start(self, *, room: RoomClient) -> None:
        """As `SingleRoomAgent.start`; files that are there are indexed in the background."""
        await super().start(room=room)
        try:
            await self._prepare_table(room)
        except BaseException:
            await super().stop()
            raise
        for event in ("file.updated", "file.deleted"):
            room.storage.on(event, self._on_changed)
        room.storage.on("file.moved", self._on_moved)
        room.on("reconnected", self._look_at_all)
        self._look_at_all()
        self._tasks.start(self._work(), f"indexer {self.name}")

    async def stop(self) -> None:
        """Stop indexing; what is indexed stays."""
        if self._room is not None:
            for event in ("file.updated", "file.deleted"):
                self._room.storage.off(event, self._on_changed)
            self._room.storage.off("file.moved", self._on_moved)
            self._room.off("reconnected", self._look_at_all)
        await self._tasks.close()
        await super().stop()

    async def _prepare_table(self, room: RoomClient) -> None:
        schema = {
            "id": TextDataType(),
            "path": TextDataType(),
            "passage": IntDataType(),
            "text": TextDataType(),
            "changed_at": TextDataType(),
            "embedder": TextDataType(),
            "embedding": VectorDataType(size=self.embedder.dimensions, element_type=FloatDataType()),
        }
        database = room.database
        if self.table in await database.list_tables():
            found = await database.search(table=self.table, limit=1, select=["embedder"])
            if not found or found[0]["embedder"] == self.embedder.name:
                return
        await database.create_table_with_schema(name=self.table, schema=schema, mode="overwrite")

    # -- changes

    def _on_changed(self, path: str) -> None:
        self._add(path)

    def _on_moved(self, source_path: str, destination_path: str) -> None:
        self._add(source_path)
        self._add(destination_path)

    def _look_at_all(self) -> None:
        """Find what changed while nobody looked."""
        self._add(ALL_FILES)

    def _add(self, path: str) -> None:
        if path == ALL_FILES or _is_indexed(path):
            self._waiting[path] = None
            self._idle.clear()
            self._wake.set()

    async def _work(self) -> None:
        while True:
            if not self._waiting:
                self._idle.set()
                self._wake.clear()
                await self._wake.wait()
            path = next(iter(self._waiting))
            del self._waiting[path]
            try:
                await (self._compare_all() if path == ALL_FILES else self._index(path))
            except (ConnectionLostError, RequestTimeoutError) as error:
                log.info("%s will index %s later: %s", self.name, path or "all files", error)
                self._waiting[path] = None
                await asyncio.sleep(self._retry_delay)
            except RoomException as error:
                log.warning("%s cannot index %s: %s", self.name, path or "all files", error)
                if error.retryable:
                    self._waiting[path] = None
                    await asyncio.sleep(self._retry_delay)
            except Exception:
                log.exception("%s cannot index %s", self.name, path or "all files")

    # -- indexing

    async def _compare_all(self) -> None:
        """Put in line what is newer than its rows, and what is gone."""
        rows = await self.room.database.search(table=self.table, where={"passage": 0}, select=["path", "changed_at"])
        known = {row["path"]: row["changed_at"] for row in rows}
        found = await self._files("")
        for path, changed_at in found.items():
            if known.get(path) != changed_at:
                self._add(path)
        for path in known.keys() - found.keys():
            self._add(path)

    async def _files(self, folder: str) -> dict[str, str]:
        """Path and time of change of every file that is to be indexed."""
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
        """Bring the rows of one file, or of all files below a folder that is gone, up to date."""
        entry = await self.room.storage.stat(path=path)
        try:
            text = None if entry is None else await self.read_text(path)
        except NotFoundError:
            text = None  # deleted meanwhile
        rows = [] if entry is None or text is None else await self._rows(path, text, _changed_at(entry))
        if rows:
            await self.room.database.merge(table=self.table, on="id", records=rows)
        own = f"path = {_literal(path)}" if entry is not None else _at_or_below(path)
        await self.room.database.delete(table=self.table, where=f"({own}) AND passage >= {len(rows)}")

    async def _rows(self, path: str, text: str, changed_at: str) -> list[Row]:
        texts = passages(text, self._passage_size) or [""]  # an empty file has a row, so that it is known
        vectors: list[list[float]] = []
        for start in range(0, len(texts), EMBED_AT_ONCE):
            batch = texts[start : start + EMBED_AT_ONCE]
            vectors += await self.embedder.embed([f"{path}\n{passage}" for passage in batch])
        return [
            {
                "id": f"{path}#{number}",
                "path": path,
                "passage": number,
                "text": passage,
                "changed_at": changed_at,
                "embedder": self.embedder.name,
                "embedding": vector,
            }
            for number, (passage, vector) in enumerate(zip(texts, vectors, strict=True))
        ]


class RagToolkit(Toolkit):
    """The tool `rag_search`: finds passages in the files that a `StorageIndexer` indexed.

    Args:
        table: The indexer's table.
        embedder: The same as the indexer's.
        name: The toolkit's name.
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
            title="Search in files",
            description="Finds passages in the files of this room.",
            rules=rules or ["Search the files before you answer a question about them, and name the paths you used."],
            tools=[FunctionTool(self.rag_search)],
        )

    async def rag_search(
        self,
        context: ToolContext,
        query: str,
        limit: Annotated[int, Field(ge=1, le=50)] = 5,
    ) -> list[dict[str, Any]]:
        """Find passages in the room's files that are about something.

        Args:
            query: What to look for, in the words that the files may use.
            limit: How many passages to return at most.
        """
        [vector] = await self._embedder.embed([query])
        rows = await context.room.database.search(
            table=self._table, vector=vector, limit=limit, select=["path", "passage", "text"]
        )
        return [{"path": row["path"], "passage": row["passage"], "text": row["text"]} for row in rows if row["text"]]


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
