"""A process that writes to every store and says on its standard output what was acknowledged, until it is killed.

Usage: python -m tests.support.store_writer FOLDER

One line for each acknowledged write: `doc WRITER SEQ TEXT`, `snap WRITER SEQ`, `put ID TEXT`, `take ID`,
`file NAME VERSION`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from meshagent.server.stores.commit_log import CommitLog
from meshagent.server.stores.files import FileStore
from meshagent.server.stores.local_files import LocalFileStores
from meshagent.server.stores.sqlite_documents import SqliteDocumentLog
from meshagent.server.stores.sqlite_queues import SqliteQueueStore
from meshagent.server.stores.sqlite_schema import ROOM_MIGRATIONS

FILE_BYTES = 30_000
SNAPSHOT_EVERY = 25


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def file_content(version: int) -> bytes:
    """Content that shows whether it is whole, and which version."""
    return (b"%09d\n" % version) * (FILE_BYTES // 10)


async def write_document(documents: SqliteDocumentLog, writer: int) -> None:
    made = await documents.create("room", f"doc{writer}", schema_name="s", schema_json="{}")
    texts: list[str] = []
    while True:
        text = f"{writer}:{len(texts) + 1}"
        seq = await documents.append(made.incarnation, text.encode())
        say("doc", writer, seq, text)
        texts.append(text)
        if seq % SNAPSHOT_EVERY == 0:
            await documents.write_snapshot(made.incarnation, ",".join(texts).encode(), upto_seq=seq)
            say("snap", writer, seq)


async def write_queue(queues: SqliteQueueStore, queue_id: int, writer: int) -> None:
    number = 0
    while True:
        number += 1
        text = f"{writer}:{number}"
        message_id = await queues.append(queue_id, text.encode(), limit=10**9)
        say("put", message_id, text)
        if number % 3 == 0:
            await queues.remove(queue_id, [message_id])
            say("take", message_id)


async def write_file(files: FileStore, number: int) -> None:
    version = 0
    while True:
        version += 1
        writer = await files.start_write()
        await writer.write(file_content(version))
        await files.publish(writer, f"folder{number}/file", overwrite=True)
        say("file", f"folder{number}/file", version)


async def main(folder: Path) -> None:
    log = CommitLog(folder / "rooms.db", ROOM_MIGRATIONS)
    await log.open()
    documents, queues = SqliteDocumentLog(log), await SqliteQueueStore.open_store(log)
    jobs = await queues.open("room", "jobs")
    assert jobs is not None
    stores = LocalFileStores(folder / "files")
    await stores.start()
    files = await stores.open("project", "room")
    async with asyncio.TaskGroup() as tasks:
        for number in range(4):
            tasks.create_task(write_document(documents, number))
            tasks.create_task(write_queue(queues, jobs.queue_id, number))
        for number in range(2):
            tasks.create_task(write_file(files, number))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
