"""One open document: the CRDT, its subscribers, and what is not on disk yet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from meshagent.api.documents.crdt_doc import DocumentDamagedError, merge_updates
from meshagent.api.documents.lives import DocumentEndedError
from meshagent.api.documents.server_document import ServerDocument
from meshagent.api.errors import InvalidStateError, LimitExceededError, RoomException
from meshagent.server.kernel.byte_budget import ByteBudget
from meshagent.server.kernel.futures import pass_on
from meshagent.server.services.documents.ports import Subscriber, Update
from meshagent.server.stores.documents import DocumentLogStore

log = logging.getLogger(__name__)

_SNAPSHOT_UPDATES = 500
_SNAPSHOT_BYTES = 256 * 1024
_LINGER = 10.0
"""Seconds for which a document that was read as JSON stays in memory after its last use."""
_VIEW_ATTEMPTS = 3
"""How often reading a document in steps begins again because somebody changes it; then it is read in one step."""
_ID_PATIENCE = 1.0
"""Seconds in which the author of a new element may set its `$id` by another update."""
_RETRY_DELAYS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


@dataclass(slots=True)
class _Turn:
    """The changes of one turn of the loop, which are stored and sent as one."""

    durable: asyncio.Future[None]
    changes: list[tuple[Subscriber | None, bytes]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _DeferredUpdate:
    """An update that came while the document was loaded again."""

    update: bytes
    author: Subscriber | None
    author_id: str | None
    result: asyncio.Future[None]


class OpenDocument:
    """A document in memory with its subscribers.

    Changes of one turn of the loop become one record in the log and one message to each subscriber; their authors
    are answered when the record is durable. When the disk fails, the answers fail, the document stays in memory, and
    its complete state is written again until that succeeds (protocol 7.5).

    Args:
        room_key: Key of the room in the log.
        path: Normalised path.
        schema_json: The schema as its author wrote it.
        document: The CRDT.
        store: The log.
        incarnation: Identifies the document in the log.
        last_seq: Sequence number of the newest record in the log.
        unsaved_updates: Records in the log since its last snapshot.
        size: Size of the loaded history.
        held: Bytes of updates that wait for others, of all documents together; while it is exceeded, no more wait.
        max_bytes: Size limit; deleting content does not reduce the size of the history.
        spawn: Starts a task owned by the room.
        changed: Called after each turn of the loop with changes.
    """

    def __init__(
        self,
        *,
        room_key: str,
        path: str,
        schema_json: dict[str, object],
        document: ServerDocument,
        store: DocumentLogStore,
        incarnation: int,
        last_seq: int,
        unsaved_updates: int,
        size: int,
        max_bytes: int,
        held: ByteBudget,
        spawn: Callable[..., object],
        changed: Callable[[OpenDocument], None],
    ) -> None:
        self.room_key = room_key
        self.path = path
        self.schema_json = schema_json
        self.document = document
        self.incarnation = incarnation
        self.subscribers: set[Subscriber] = set()
        self.pins = 0
        """Number of calls that use the document; it is not unloaded meanwhile."""
        self.file_is_stale = False
        self.last_author: str | None = None
        self.ended = False
        self._store = store
        self._spawn = spawn
        self._changed = changed
        self._turn: _Turn | None = None
        self._last_seq = last_seq
        self._unsaved_updates = unsaved_updates
        self._unsaved_bytes = 0
        self._size = size
        self._max_bytes = max_bytes
        self._held = held
        self._counted_as_held = 0
        self._count_held()
        self._snapshot_running = False
        self._reloading: asyncio.Future[None] | None = None
        self._deferred: list[_DeferredUpdate] = []
        self._awaiting_rewrite: list[asyncio.Future[None]] | None = None
        self._in_flight = 0
        self._ids_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        self._has_lingered = False

    @property
    def is_saved(self) -> bool:
        """Whether all changes are in the log."""
        return self._turn is None and self._awaiting_rewrite is None and self._in_flight == 0

    @property
    def scale(self) -> int:
        """How much longer changes are collected before the whole state is written: 1 for up to 2 MiB."""
        return max(1, self._size >> 20)

    def apply(self, update: bytes, author: Subscriber | None, author_id: str | None) -> asyncio.Future[None] | None:
        """Merge a change into the document, in the order of the calls.

        Returns:
            A future for when the change is durable, or None if the update changed nothing.

        Raises:
            LimitExceededError: The document would become too large, or the update depends on changes that have not
                arrived and no more such updates can be held; the document is unchanged.
            MalformedUpdateError: Not a valid update; the document is unchanged.
            InvalidStateError: The document was deleted.
        """
        if self.ended:
            raise InvalidStateError(f"the document {self.path} was deleted")
        if self._reloading is not None:
            result = _ignore_exception(asyncio.get_running_loop().create_future())
            self._deferred.append(_DeferredUpdate(update, author, author_id, result))
            return result
        if self._size + len(update) > self._max_bytes:
            raise LimitExceededError(
                f"the document {self.path} would be larger than {self._max_bytes} bytes", limit=self._max_bytes
            )
        self.document.may_hold = not self._held.is_exceeded
        try:
            applied = self.document.apply(update)
        except DocumentDamagedError:
            self._reload_soon()
            raise
        if self.document.held_bytes != self._counted_as_held:
            self._count_held()
        if applied.repair is not None:
            log.warning("repaired document %s: an update from participant %s broke its rules", self.path, author_id)
            if author is not None:
                author.push(Update(applied.repair))
        durable = None
        if applied.update is not None:
            self.last_author = author_id
            durable = self._record(author, applied.update)
            if self.document.lacks_ids and self._ids_timer is None:
                self._ids_timer = asyncio.get_running_loop().call_later(_ID_PATIENCE, self._give_ids)
        if applied.pending:
            # It shows nothing until what it depends on arrives, but it is acknowledged, so it must not be lost.
            durable = _ignore_exception(asyncio.get_running_loop().create_future())
            self._size += len(update)
            self._append(update, durable)
        return durable

    def _count_held(self) -> None:
        held = 0 if self.ended else self.document.held_bytes
        self._held.change(held - self._counted_as_held)
        self._counted_as_held = held

    def record_server_change(self, update: bytes, author_id: str | None) -> asyncio.Future[None]:
        """Store and send a change that the server made."""
        self.last_author = author_id
        return self._record(None, update)

    def linger(self, then: Callable[[OpenDocument], None]) -> bool:
        """Stay in memory for a while if the JSON form was read, which is dear; `then` is called at its end.

        Returns:
            Whether it stays; not if it has stayed since its last use.
        """
        if self._has_lingered or not self.document.has_view:
            return False
        if self._linger_timer is None:
            self._linger_timer = asyncio.get_running_loop().call_later(_LINGER, self._end_lingering, then)
        return True

    def _end_lingering(self, then: Callable[[OpenDocument], None]) -> None:
        self._linger_timer = None
        self._has_lingered = True
        then(self)

    def pin(self) -> None:
        """Keep the document in memory until `pins` is counted down again."""
        self.pins += 1
        self.used()

    def used(self) -> None:
        """Somebody uses the document: it may linger anew after that."""
        self._has_lingered = False
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None

    async def prepare_view(self) -> None:
        """Read the document as JSON in small steps, so that others get their turns."""
        for _ in range(_VIEW_ATTEMPTS):
            document = self.document
            for _ in document.view_steps():
                await asyncio.sleep(0)
            if document.has_view or self.ended:
                return

    def give_ids(self) -> asyncio.Future[None] | None:
        """Give ids to elements that lack one or have that of another; returns when that is durable, if any do."""
        if self.ended:
            return None
        self._stop_ids_timer()
        update = self.document.give_ids()
        return None if update is None else self._record(None, update)

    def _give_ids(self) -> None:
        self._ids_timer = None
        try:
            self.give_ids()
        except DocumentDamagedError:
            self._reload_soon()

    def _stop_ids_timer(self) -> None:
        if self._ids_timer is not None:
            self._ids_timer.cancel()
            self._ids_timer = None

    def _record(self, author: Subscriber | None, update: bytes) -> asyncio.Future[None]:
        turn = self._turn
        if turn is None:
            loop = asyncio.get_running_loop()
            turn = self._turn = _Turn(_ignore_exception(loop.create_future()))
            loop.call_soon(self._end_turn)
        turn.changes.append((author, update))
        self._size += len(update)
        return turn.durable

    def _end_turn(self) -> None:
        turn, self._turn = self._turn, None
        if turn is None:
            return
        if self.ended:
            turn.durable.set_exception(InvalidStateError(f"the document {self.path} was deleted"))
            return
        update = _merged([change for _, change in turn.changes])
        self._append(update, turn.durable)
        self._send_to_subscribers(turn.changes, update)
        self.file_is_stale = True
        self._changed(self)

    def _send_to_subscribers(self, changes: list[tuple[Subscriber | None, bytes]], merged: bytes) -> None:
        """Send each subscriber the changes of others, but not its own."""
        authors = {author for author, _ in changes if author is not None}
        for_all = Update(merged)
        for subscriber in list(self.subscribers):
            if subscriber not in authors:
                subscriber.push(for_all)
            elif len(authors) > 1 or len(changes) > sum(author is subscriber for author, _ in changes):
                subscriber.push(Update(_merged([change for author, change in changes if author is not subscriber])))

    # --- durability ----------------------------------------------------------------------------------

    def _append(self, update: bytes, durable: asyncio.Future[None]) -> None:
        if self._awaiting_rewrite is not None:
            # The log has a gap; the next snapshot will contain this change too.
            self._awaiting_rewrite.append(durable)
            return
        try:
            stored = self._store.append(self.incarnation, update)
        except RoomException as error:
            self._append_failed(error, durable)
            return
        self._in_flight += 1
        size = len(update)
        stored.add_done_callback(lambda done: self._appended(done, size, durable))

    def _appended(self, stored: asyncio.Future[int], size: int, durable: asyncio.Future[None]) -> None:
        self._in_flight -= 1
        if stored.cancelled() or (error := stored.exception()) is not None:
            failure = error if not stored.cancelled() else None
            self._append_failed(failure or InvalidStateError("the server is stopping"), durable)
            return
        self._last_seq = max(self._last_seq, stored.result())
        self._unsaved_updates += 1
        self._unsaved_bytes += size
        if not durable.done():
            durable.set_result(None)
        scale = self.scale
        if self._unsaved_updates >= _SNAPSHOT_UPDATES * scale or self._unsaved_bytes >= _SNAPSHOT_BYTES * scale:
            self._spawn(self.snapshot(), name=f"snapshot of {self.path}")

    def _append_failed(self, error: BaseException, durable: asyncio.Future[None]) -> None:
        if not durable.done():
            durable.set_exception(error)
        if self.ended or self._awaiting_rewrite is not None:
            return
        log.error("cannot store a change of document %s: %s; keeping it in memory, and trying again", self.path, error)
        self._awaiting_rewrite = []
        self._spawn(self._rewrite_log(), name=f"rewriting the log of {self.path}")

    async def _rewrite_log(self) -> None:
        """Write snapshots until one succeeds; each change is answered by the first attempt that included it."""
        attempt = 0
        while not self.ended:
            waiting, self._awaiting_rewrite = self._awaiting_rewrite or [], []
            try:
                await self._write_snapshot()
            except RoomException as error:
                log.error("still cannot write document %s: %s", self.path, error)
                _resolve(waiting, error)
                await asyncio.sleep(_RETRY_DELAYS[min(attempt, len(_RETRY_DELAYS) - 1)])
                attempt += 1
                continue
            _resolve(waiting, None)
            if not self._awaiting_rewrite:
                break
        _resolve(self._awaiting_rewrite or [], InvalidStateError(f"the document {self.path} was deleted"))
        self._awaiting_rewrite = None

    async def reloaded(self) -> None:
        """Wait until the document can be read, if it is being loaded again."""
        while self._reloading is not None:
            await asyncio.shield(self._reloading)

    def _reload_soon(self) -> None:
        """The CRDT library failed: reload from the log, which has every acknowledged change."""
        if self._reloading is None:
            self._reloading = _ignore_exception(asyncio.get_running_loop().create_future())
            self._spawn(self._reload(), name=f"reload of {self.path}")

    async def _reload(self) -> None:
        try:
            stored = await self._store.load(self.room_key, self.path)
            if stored is None or stored.incarnation != self.incarnation or self.ended:
                return
            fresh = ServerDocument(self.document.schema)
            fresh.load([*([stored.snapshot] if stored.snapshot is not None else []), *stored.updates])
            self.document.close()
            self.document = fresh
        finally:
            assert self._reloading is not None
            self._reloading.set_result(None)
            self._reloading = None
            self._apply_deferred()

    def _apply_deferred(self) -> None:
        """Apply what came during a reload; another update that fails defers the rest to another reload."""
        deferred, self._deferred = self._deferred, []
        for one in deferred:
            if one.result.done():  # its sender has left without an answer
                continue
            try:
                durable = self.apply(one.update, one.author, one.author_id)
            except RoomException as error:
                one.result.set_exception(error)
            else:
                if durable is None:
                    one.result.set_result(None)
                else:
                    pass_on(durable, one.result)

    async def snapshot(self) -> None:
        """Replace the log by a snapshot, if it has records; failures are only logged."""
        if self._snapshot_running or self.ended or self._unsaved_updates == 0:
            return
        self._snapshot_running = True
        try:
            await self._write_snapshot()
        except RoomException as error:
            log.error("cannot write a snapshot of document %s: %s; its log is complete", self.path, error)
        finally:
            self._snapshot_running = False

    async def _write_snapshot(self) -> None:
        """Replace the records so far by one of the state, behind which those that wait for others are kept."""
        document = self.document
        state, held, held_bytes = document.encode_state(), document.held, document.held_bytes
        upto, updates, size = self._last_seq, self._unsaved_updates, self._unsaved_bytes
        for stored in [self._store.append(self.incarnation, update) for update in held]:
            self._last_seq = max(self._last_seq, await stored)
        await self._store.write_snapshot(self.incarnation, state, upto_seq=upto)
        self._size = len(state) + held_bytes
        self._unsaved_updates -= updates
        self._unsaved_bytes -= size

    @property
    def life(self) -> str:
        """Identifies this document among all that are or were at its path."""
        return f"{self.incarnation}.{self.document.life or 0}"

    def moved(self, path: str) -> None:
        """Note the new path, and tell subscribers, who can then end their subscriptions."""
        error = DocumentEndedError(f"the document {self.path} was moved to {path}", change="moved", new_path=path)
        self.path = path
        for subscriber in list(self.subscribers):
            if subscriber.moved(error):
                self.subscribers.discard(subscriber)

    def end(self, error: DocumentEndedError | None) -> None:
        """End the document: notify subscribers, and store nothing more.

        Args:
            error: What happened to it; None if it is only unloaded.
        """
        if self.ended:
            return
        self.ended = True
        self._count_held()
        self._stop_ids_timer()
        self.used()
        for subscriber in list(self.subscribers):
            subscriber.ended(error)
        self.subscribers.clear()
        self.document.close()


def _ignore_exception(future: asyncio.Future[None]) -> asyncio.Future[None]:
    """Mark a future's exception as retrieved, so that asyncio does not log it if nobody awaits it."""
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future


def _merged(updates: list[bytes]) -> bytes:
    return updates[0] if len(updates) == 1 else merge_updates(*updates)


def _resolve(futures: list[asyncio.Future[None]], error: BaseException | None) -> None:
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
