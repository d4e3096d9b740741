"""The documents of one room: opened at first use, and kept in memory while they are in use or not saved."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakValueDictionary

from meshagent.api.documents.builtin import builtin_schema
from meshagent.api.documents.lives import Change, DocumentEndedError
from meshagent.api.documents.schema import MeshSchema, MeshSchemaException
from meshagent.api.documents.server_document import ServerDocument
from meshagent.api.errors import AlreadyExistsError, InvalidRequestError, NotFoundError, RoomException
from meshagent.server.kernel.byte_budget import ByteBudget
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.documents.open_document import OpenDocument
from meshagent.server.services.documents.ports import DocumentFiles, Subscriber
from meshagent.server.stores.documents import DocumentLogStore, StoredDocument
from meshagent.server.stores.paths import normalize_path

log = logging.getLogger(__name__)

_MAX_SCHEMA_BYTES = 1024 * 1024
_MAX_SCHEMA_NESTING = 64

_MAX_SAVE_DELAY = 60.0
_SCHEMA_FOLDER = ".schemas"


class DocumentSubscription:
    """A subscription of one subscriber to one document."""

    __slots__ = ("_service", "document", "subscriber")

    def __init__(self, service: DocumentsService, document: OpenDocument, subscriber: Subscriber) -> None:
        self._service = service
        self.document = document
        self.subscriber = subscriber

    def apply(self, update: bytes, author_id: str | None) -> asyncio.Future[None] | None:
        """Merge the subscriber's change; see `OpenDocument.apply`."""
        return self.document.apply(update, self.subscriber, author_id)

    def close(self) -> None:
        """Unsubscribe; idempotent."""
        self._service.unsubscribe(self.document, self.subscriber)


class DocumentsService:
    """Manages the room's documents.

    The log is authoritative; the file at a document's path is a view of it, written shortly after changes and when the
    last subscriber leaves, so that listings, downloads and backups of the folder include documents.

    Args:
        room: The room.
        store: Stores the document logs.
        files: The room's files.
        max_bytes: Maximum size of a document's history; larger edits are rejected.
        held: Bytes of updates that wait for others, of all documents together; None for no bound.
        save_delay: Seconds between a change and saving the file; longer for documents over 1 MiB.
    """

    def __init__(
        self,
        room: RoomContext,
        store: DocumentLogStore,
        files: DocumentFiles,
        *,
        max_bytes: int = 64 * 1024 * 1024,
        held: ByteBudget | None = None,
        save_delay: float = 2.0,
    ) -> None:
        self._room = room
        self._room_key = f"{room.project_id}/{room.storage_name}"
        self._store = store
        self._files = files
        self._max_bytes = max_bytes
        self._held = held or ByteBudget()
        self._save_delay = save_delay
        self._open: dict[str, OpenDocument] = {}
        self._known_paths: set[str] | None = None
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._save_timers: dict[str, asyncio.TimerHandle] = {}

    # --- opening and subscribing ------------------------------------------------------------------------

    @asynccontextmanager
    async def using(
        self,
        path: str,
        *,
        create: bool = False,
        initial_json: dict[str, Any] | None = None,
        schema: dict[str, Any] | None = None,
    ) -> AsyncIterator[OpenDocument]:
        """Keep the document at `path` in memory for the duration of the block.

        Args:
            path: Path; it is normalised.
            create: Create it if it is missing, with the schema named by its extension.
            initial_json: Content if it is created.
            schema: Schema if it is created and `.schemas` has none.

        Raises:
            NotFoundError: It is missing and `create` is false, or there is no schema for its extension.
            InvalidRequestError: The path has no extension, the file there is not a document, or `initial_json` does
                not match the schema.
            CorruptDataError: The log is damaged.
        """
        normal = normalize_path(path)
        document = await self._load(normal, create=create, initial_json=initial_json, schema=schema)
        document.pin()
        try:
            await document.reloaded()
            yield document
        finally:
            document.pins -= 1
            self._release(document)

    @asynccontextmanager
    async def joining(
        self, path: str, *, life: str | None = None, vector: bytes | None = None, **making: Any
    ) -> AsyncIterator[OpenDocument]:
        """`using` for a client that may have a copy already, of which nothing is merged into another life.

        Args:
            path: As in `using`.
            life: The life (`OpenDocument.life`) of the client's copy.
            vector: The state vector of its copy.
            making: The other arguments of `using`; nothing is made for a client that has a copy.

        Raises:
            DocumentEndedError: What the client has a copy of is not at `path` any more.
            RoomException: As `using`.
        """
        if life is not None or vector not in (None, b"\x00"):
            making["create"] = False
        try:
            async with self.using(path, **making) as document:
                if life not in (None, document.life):
                    raise await self._ended(normalize_path(path), life or "", "replaced")
                if vector is not None and document.document.is_of_another_life(vector):
                    raise DocumentEndedError(f"the document {document.path} was replaced", change="replaced")
                yield document
        except NotFoundError:
            if life is None:
                raise
            raise await self._ended(normalize_path(path), life, "deleted") from None

    async def _ended(self, path: str, life: str, change: Change) -> DocumentEndedError:
        """What became of a life that is not at `path`: moved, or else `change`."""
        for stored in await self._store.list_documents(self._room_key):
            if life.startswith(f"{stored.incarnation}.") and stored.path != path:
                async with self.using(stored.path) as found:
                    if found.life == life:
                        text = f"the document {path} was moved to {stored.path}"
                        return DocumentEndedError(text, change="moved", new_path=stored.path)
        return DocumentEndedError(f"the document {path} was {change}", change=change)

    def subscribe(self, document: OpenDocument, subscriber: Subscriber) -> DocumentSubscription:
        """Subscribe to a document from `using`. State read in this turn of the loop and later pushes are complete."""
        document.subscribers.add(subscriber)
        return DocumentSubscription(self, document, subscriber)

    def unsubscribe(self, document: OpenDocument, subscriber: Subscriber) -> None:
        document.subscribers.discard(subscriber)
        self._release(document)

    async def create(self, path: str, initial_json: dict[str, Any] | None) -> None:
        """Create a document, with `initial_json` as its content if given.

        Raises:
            AlreadyExistsError: There is something at the path.
            InvalidRequestError, NotFoundError: As in `using`.
        """
        normal = normalize_path(path)
        if (
            await self._store.stat(self._room_key, normal) is not None
            or await self._files.read_file(normal) is not None
        ):
            raise AlreadyExistsError(f"{normal!r} already exists")
        async with self.using(normal, create=True, initial_json=initial_json):
            pass

    async def describe(self, path: str, *, include_ids: bool = False) -> dict[str, Any]:
        """The document as JSON, root tag first, which must not be changed; a missing document is not created."""
        async with self.using(path) as document:
            await document.prepare_view()
            if include_ids and (durable := document.give_ids()) is not None:
                await durable
            return document.document.view(include_ids=include_ids)

    async def version(self, path: str) -> str:
        """Names the content of the document, the same for the same content."""
        async with self.using(path) as document:
            return document.document.content_version()

    async def replace_json(self, path: str, content: dict[str, Any], author_id: str | None) -> dict[str, Any]:
        """Change the document to `content` with minimal edits; returns the result.

        Raises:
            InvalidRequestError, LimitExceededError: It does not fit the schema, or `ChangeBudget`; nothing changed.
        """
        async with self.using(path) as document:
            document.give_ids()
            update = document.document.patch_json(content)
            if update is not None:
                await document.record_server_change(update, author_id)
            return await self.describe(path)

    # --- file observer -----------------------------------------------------------------

    async def holds(self, path: str) -> bool:
        """Whether there is a document at `path`."""
        return path in await self._paths()

    async def before_read(self, path: str) -> None:
        """The file at `path` is about to be read: save the current state."""
        for document in self._at_or_below(path):
            await self._save_file(document)

    async def before_delete(self, path: str) -> None:
        """The file or folder at `path` is about to be deleted: delete its documents with their history first."""
        await self._delete(path, "deleted")

    async def _delete(self, path: str, change: Change) -> None:
        for stored in await self._stored_at_or_below(path):
            async with self._lock(stored):
                self._forget(stored, DocumentEndedError(f"the document {stored} was {change}", change=change))
                await self._store.delete(self._room_key, stored)
                (await self._paths()).discard(stored)

    async def replaced(self, path: str) -> None:
        """The file of the document at `path` was replaced: the document is reloaded from it at its next use."""
        await self._delete(path, "replaced")

    async def before_move(self, source: str, destination: str) -> None:
        """The file or folder at `source` is about to be moved: move its documents."""
        for stored in await self._stored_at_or_below(source):
            target = destination + stored[len(source) :]
            async with self._lock(stored):
                document = self._open.pop(stored, None)
                await self._store.move(self._room_key, stored, target)
                known = await self._paths()
                known.discard(stored)
                known.add(target)
                if document is not None:
                    self._open[target] = document
                    document.moved(target)
                    self._release(document)

    # --- room lifecycle -----------------------------------------------------------------------------

    def left(self, participant: Participant) -> None:
        """Nothing to release for a participant: dialects close their sessions."""

    async def close(self) -> None:
        """Save and close all documents."""
        for timer in self._save_timers.values():
            timer.cancel()
        self._save_timers.clear()
        for document in list(self._open.values()):
            try:
                await document.snapshot()
                await self._save_file(document)
            except RoomException as error:
                log.error("cannot write the file of document %s: %s; its log is complete", document.path, error)
            document.end(None)
        self._open.clear()

    # --- loading -------------------------------------------------------------------------------------

    async def _load(
        self, path: str, *, create: bool, initial_json: dict[str, Any] | None, schema: dict[str, Any] | None
    ) -> OpenDocument:
        document = self._open.get(path)
        if document is not None:
            return document
        async with self._lock(path):
            document = self._open.get(path)
            if document is None:
                document = await self._load_or_make(path, create, initial_json, schema)
                self._open[path] = document
            return document

    async def _load_or_make(
        self, path: str, create: bool, initial_json: dict[str, Any] | None, schema: dict[str, Any] | None
    ) -> OpenDocument:
        stored = await self._store.load(self._room_key, path)
        if stored is not None:
            schema_json = await self._schema_of(path, json.loads(stored.schema_json))
            return await self._restore(stored, schema_json)
        existing = await self._files.read_file(path)
        if existing is None and not create:
            raise NotFoundError(f"document {path!r} not found")
        schema_json = await self._schema_of(path, schema)
        content = _new_content(path, _schema(schema_json), existing, initial_json)
        state = content.encode_state()
        content.close()
        known = await self._paths()
        made = await self._store.create(
            self._room_key,
            path,
            schema_name=_schema_name(path),
            schema_json=json.dumps(schema_json),
            state=state,
        )
        known.add(path)
        if existing is None:
            await self._files.publish_document(path, state, participant_id=None)
        return await self._restore(made, schema_json)

    async def _restore(self, stored: StoredDocument, schema_json: dict[str, Any]) -> OpenDocument:
        content = ServerDocument(_schema(schema_json))
        history = [stored.snapshot] if stored.snapshot is not None else []
        for _ in content.load_steps([*history, *stored.updates]):
            await asyncio.sleep(0)
        return OpenDocument(
            room_key=self._room_key,
            path=stored.path,
            schema_json=schema_json,
            document=content,
            store=self._store,
            incarnation=stored.incarnation,
            last_seq=stored.last_seq,
            unsaved_updates=len(stored.updates),
            size=sum(map(len, history)) + sum(map(len, stored.updates)),
            max_bytes=self._max_bytes,
            held=self._held,
            spawn=self._room.spawn,
            changed=self._schedule_save,
        )

    async def _schema_of(self, path: str, stored: dict[str, Any] | None) -> dict[str, Any]:
        """The schema for the extension: a file in `.schemas`, else the stored one, else a built-in one."""
        name = _schema_name(path)
        text = await self._files.read_file(f"{_SCHEMA_FOLDER}/{name}.json")
        if text is not None:
            try:
                schema = _schema_json(text)
                MeshSchema.from_json(schema)
            except (ValueError, TypeError, KeyError, RecursionError, MeshSchemaException) as error:
                raise InvalidRequestError(f"{_SCHEMA_FOLDER}/{name}.json is not a valid schema: {error}") from None
            return dict(schema)
        if stored is not None:
            return stored
        built_in = builtin_schema(name)
        if built_in is None:
            raise NotFoundError(f"schema {name!r} of {path} not found; deploy {_SCHEMA_FOLDER}/{name}.json first")
        return built_in.to_json()

    # --- saving and unloading ------------------------------------------------------------------------

    def _schedule_save(self, document: OpenDocument) -> None:
        if document.path not in self._save_timers:
            loop = asyncio.get_running_loop()
            delay = min(self._save_delay * document.scale, _MAX_SAVE_DELAY)
            self._save_timers[document.path] = loop.call_later(delay, self._save_due, document)

    def _save_due(self, document: OpenDocument) -> None:
        self._save_timers.pop(document.path, None)
        if not document.ended:
            self._room.spawn(self._save_and_release(document), name=f"save {document.path}")

    async def _save_and_release(self, document: OpenDocument) -> None:
        await self._save_file(document)
        self._release(document)

    async def _save_file(self, document: OpenDocument) -> None:
        if not document.file_is_stale or document.ended:
            return
        document.file_is_stale = False
        try:
            state = document.document.encode_state()
            await self._files.publish_document(document.path, state, participant_id=document.last_author)
        except RoomException as error:
            document.file_is_stale = True
            log.error("cannot write the file of document %s: %s; its log is complete", document.path, error)
            self._schedule_save(document)

    def _release(self, document: OpenDocument) -> None:
        if not document.subscribers and not document.pins and not document.ended:
            self._room.spawn(self._unload(document), name=f"unload {document.path}")

    async def _unload(self, document: OpenDocument) -> None:
        """Unload an unused document once all of it is on disk."""
        if document.document.lacks_ids:
            document.give_ids()
        await document.snapshot()
        await self._save_file(document)
        async with self._lock(document.path):
            if document.subscribers or document.pins or document.ended:
                return
            if not document.is_saved or document.file_is_stale:
                self._schedule_save(document)
            elif not document.linger(self._release):
                self._forget(document.path, None)

    def _forget(self, path: str, error: DocumentEndedError | None) -> None:
        timer = self._save_timers.pop(path, None)
        if timer is not None:
            timer.cancel()
        document = self._open.pop(path, None)
        if document is not None:
            document.end(error)

    # --- finding -------------------------------------------------------------------------------------

    def _lock(self, path: str) -> asyncio.Lock:
        lock = self._locks.get(path)
        if lock is None:
            lock = self._locks[path] = asyncio.Lock()
        return lock

    def _at_or_below(self, path: str) -> list[OpenDocument]:
        if not self._open:
            return []
        return [document for document in self._open.values() if _is_at_or_below(document.path, path)]

    async def _stored_at_or_below(self, path: str) -> list[str]:
        return sorted(known for known in await self._paths() if _is_at_or_below(known, path))

    async def _paths(self) -> set[str]:
        """Paths of all documents of the room, kept in memory: every file that is written asks for them."""
        if self._known_paths is None:
            stored = await self._store.list_documents(self._room_key)
            if self._known_paths is None:  # another call may have been quicker, and know of changes since
                self._known_paths = {info.path for info in stored}
        return self._known_paths


def _is_at_or_below(path: str, folder: str) -> bool:
    return not folder or path == folder or path.startswith(folder + "/")


def _schema_json(text: bytes) -> Any:
    """A schema file as JSON.

    Raises:
        ValueError: It is too large or nested too deep, or not JSON.
        RecursionError: It is nested far too deep.
    """
    if len(text) > _MAX_SCHEMA_BYTES:
        raise ValueError(f"it has more than {_MAX_SCHEMA_BYTES} bytes")
    schema = json.loads(text)
    level = [schema]
    for _ in range(_MAX_SCHEMA_NESTING):
        level = [
            item
            for value in level
            if isinstance(value, (dict, list))
            for item in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return schema
    raise ValueError(f"it is nested more than {_MAX_SCHEMA_NESTING} levels deep")


def _schema_name(path: str) -> str:
    """The part of the file's name after its last dot (protocol 7.2)."""
    stem, dot, extension = path.rpartition("/")[2].rpartition(".")
    if not dot or not extension or not stem:
        raise InvalidRequestError(f"{path!r} has no extension to select a schema")
    return extension


def _schema(schema_json: dict[str, Any]) -> MeshSchema:
    return MeshSchema.from_json(schema_json)


def _new_content(
    path: str, schema: MeshSchema, existing: bytes | None, initial_json: dict[str, Any] | None
) -> ServerDocument:
    """The content of a document that has no history yet: given, imported from a file, or empty."""
    content = ServerDocument(schema)
    if existing:
        _import(path, content, existing)
    elif initial_json is not None:
        content.from_json(initial_json)
    else:
        content.seed()
    content.begin_life()
    return content


def _import(path: str, content: ServerDocument, existing: bytes) -> None:
    """Load an existing file: a document's state, or a document as JSON."""
    try:
        if existing.lstrip().startswith(b"{"):
            content.from_json(json.loads(existing))
        else:
            content.import_state(existing)
    except (ValueError, RecursionError, RoomException) as error:
        raise InvalidRequestError(f"the file {path} is not a document: {error}") from None
