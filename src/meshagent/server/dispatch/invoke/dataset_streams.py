"""Streams of the toolkit `dataset`: uploads of Arrow data, searches, rows of queries (protocol 14.10)."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

import msgspec

from meshagent.api.contracts import dataset as api
from meshagent.api.errors import InvalidRequestError, LimitExceededError
from meshagent.server.dispatch.contents import binary_content
from meshagent.server.dispatch.invoke.stream import Stream
from meshagent.server.dispatch.invoke.stream_tasks import PULL, Inbox, Item, send_download
from meshagent.server.kernel.operations import EncodedContent
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.database import check_name
from meshagent.server.services.dataset.service import ARROW_STREAM, DatasetService, TableUpload
from meshagent.server.services.sql.service import SqlService

_DATA_HEADERS = {"kind": "data", "content_type": ARROW_STREAM}


class _TableStart(api.TableRef, frozen=True, kw_only=True):
    kind: str = "start"


class _JsonRows(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    rows: msgspec.Raw


class CreateHandler:
    """Serves `dataset.create_table`: a schema or rows, Arrow or typed JSON, become a table at the client's close."""

    def __init__(self, dataset: DatasetService) -> None:
        self._dataset = dataset

    async def serve(self, stream: Stream, inbox: Inbox) -> None:
        start, schema_data = await inbox.start(api.CreateTableStart)
        stream.participant.scope.require_table(start.name, "alter")
        check_name(start.name)
        await _receive(stream, inbox, await self._dataset.start_create(start, schema_data))


class InsertHandler:
    """Serves `dataset.insert`: rows that are added, all of them, at the client's close."""

    def __init__(self, dataset: DatasetService) -> None:
        self._dataset = dataset

    async def serve(self, stream: Stream, inbox: Inbox) -> None:
        start, first = await inbox.start(_TableStart)
        stream.participant.scope.require_table(start.table, "write")
        await _receive(stream, inbox, await self._dataset.start_insert(start), first)


class MergeHandler:
    """Serves `dataset.merge`: rows that update or are added, all of them, at the client's close."""

    def __init__(self, dataset: DatasetService) -> None:
        self._dataset = dataset

    async def serve(self, stream: Stream, inbox: Inbox) -> None:
        start, first = await inbox.start(api.MergeStart)
        stream.participant.scope.require_table(start.table, "write")
        await _receive(stream, inbox, await self._dataset.start_merge(start), first)


class SearchHandler:
    """Serves `dataset.search`: one piece of the rows found for each pull."""

    def __init__(self, dataset: DatasetService) -> None:
        self._dataset = dataset
        self._reading: Counter[str] = Counter()

    async def serve(self, stream: Stream, inbox: Inbox) -> None:
        start, _ = await inbox.start(api.SearchRequest)
        stream.participant.scope.require_table(start.table, "read")
        with self._counted(stream.participant, self._dataset.max_open_reads):
            await _send(stream, inbox, self._dataset.search(start))

    @contextmanager
    def _counted(self, caller: Participant, limit: int) -> Iterator[None]:
        """Count a search while it is read, since each holds buffers and a version of its table."""
        if self._reading[caller.id] >= limit:
            raise LimitExceededError(f"{limit} searches of this participant are still being read", limit=limit)
        self._reading[caller.id] += 1
        try:
            yield
        finally:
            self._reading[caller.id] -= 1
            if not self._reading[caller.id]:
                del self._reading[caller.id]


class QueryHandler:
    """Serves `dataset.read_sql_query`: one piece of a query's rows for each pull."""

    def __init__(self, sql: SqlService) -> None:
        self._sql = sql

    async def serve(self, stream: Stream, inbox: Inbox) -> None:
        start, _ = await inbox.start(api.QueryRequest)
        await _send(stream, inbox, self._sql.read(stream.participant, start.query_id))


async def _receive(stream: Stream, inbox: Inbox, upload: TableUpload, first: bytes = b"") -> None:
    """Pull an upload piece by piece and commit it at the client's close.

    A close with any other status than 1000 says that the client's source failed.

    Raises:
        InvalidRequestError: It ended like that, or sent what is no data; nothing was committed.
    """
    try:
        if first:
            await upload.write(first)
        while True:
            stream.reply(PULL)
            item = await inbox.next()
            if item.is_close:
                break
            await _take(item, upload)
        if item.content.status_code not in (None, 1000):
            raise InvalidRequestError("the upload ended early; nothing was stored")
        await upload.finish()
    finally:
        await upload.discard()


async def _take(item: Item, upload: TableUpload) -> None:
    if item.content.type == "binary":
        await upload.write(item.payload)
    elif item.content.type == "json":
        await upload.write_rows(bytes(item.read_as(_JsonRows).rows))
    else:
        raise InvalidRequestError(f"rows come in binary or JSON contents, not in {item.content.type!r}")


async def _send(stream: Stream, inbox: Inbox, pieces: AsyncGenerator[bytes, None]) -> None:
    """Answer each pull with one piece, and the pull after the last piece with the close."""
    async with aclosing(_items(pieces)) as items:
        await send_download(stream, inbox, items)


async def _items(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[EncodedContent, None]:
    async with aclosing(pieces):
        async for piece in pieces:
            yield binary_content(_DATA_HEADERS, piece)
