"""SQLite stores: what they keep over a restart, and how they meet damage and a failing disk."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from meshagent.api.errors import LimitExceededError, NotFoundError
from meshagent.server.stores.documents import StoredDocument
from meshagent.server.stores.errors import CorruptDataError, StoreFailedError
from meshagent.server.stores.health import HealthMonitor
from meshagent.server.stores.queues import StoredMessage
from meshagent.server.stores.sqlite_documents import SqliteDocumentLog
from meshagent.server.stores.sqlite_queues import SqliteQueueStore
from tests.support.stores import CommitGate, disk_full, open_commit_log


async def write_history(documents: SqliteDocumentLog) -> StoredDocument:
    """A document with a snapshot of two updates and three updates after it."""
    made = await documents.create("room", "doc", schema_name="s", schema_json='{"a": 1}', state=b"1")
    for number in range(2, 6):
        await documents.append(made.incarnation, b"%d" % number)
    await documents.write_snapshot(made.incarnation, b"12", upto_seq=2)
    whole = await documents.load("room", "doc")
    assert whole is not None
    return whole


def damage(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "rooms.db")) as connection, connection:
        assert connection.execute(statement).rowcount == 1


async def test_documents_and_queues_outlive_the_process(tmp_path: Path) -> None:
    async with open_commit_log(tmp_path) as log:
        before = await write_history(SqliteDocumentLog(log))
        queues = await SqliteQueueStore.open_store(log)
        jobs = await queues.open("room", "jobs")
        assert jobs is not None
        ids = [await queues.append(jobs.queue_id, b"%d" % n, limit=9) for n in range(5)]
        await queues.remove(jobs.queue_id, [ids[0], ids[2]])
    async with open_commit_log(tmp_path) as log:
        documents, queues = SqliteDocumentLog(log), await SqliteQueueStore.open_store(log)
        assert await documents.load("room", "doc") == before
        assert await documents.append(before.incarnation, b"6") == 6
        again = await queues.open("room", "jobs")
        assert again is not None
        assert (again.queue_id, again.size) == (jobs.queue_id, 3)
        assert again.head == tuple(StoredMessage(ids[n], b"%d" % n) for n in (1, 3, 4))
        assert await queues.append(jobs.queue_id, b"5", limit=4) > ids[-1]
        with pytest.raises(LimitExceededError):
            queues.append(jobs.queue_id, b"6", limit=4)


async def test_a_life_is_never_given_out_twice(tmp_path: Path) -> None:
    async with open_commit_log(tmp_path) as log:
        old = await write_history(SqliteDocumentLog(log))
        await SqliteDocumentLog(log).delete("room", "doc")
    async with open_commit_log(tmp_path) as log:
        documents = SqliteDocumentLog(log)
        new = await write_history(documents)
        assert new.incarnation != old.incarnation
        with pytest.raises(NotFoundError):
            await documents.append(old.incarnation, b"late")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM document_updates WHERE seq = 4",
        "DELETE FROM document_updates WHERE seq = 3",
        "UPDATE document_updates SET content = x'00' WHERE seq = 4",
        "UPDATE document_updates SET content = 'text' WHERE seq = 4",
        "INSERT INTO document_updates VALUES (1, 2, 0, 0, x'')",
        "DELETE FROM document_snapshots",
        "UPDATE document_snapshots SET state = x'3132ff'",
        "UPDATE documents SET snapshot_seq = 1 WHERE id = 1",
        "UPDATE documents SET snapshot_crc = NULL WHERE id = 1",
    ],
)
async def test_a_damaged_document_is_never_returned_in_part(tmp_path: Path, statement: str) -> None:
    health = HealthMonitor()
    async with open_commit_log(tmp_path, health=health) as log:
        documents = SqliteDocumentLog(log)
        await write_history(documents)
        await documents.create("room", "other", schema_name="s", schema_json="{}")
        damage(tmp_path, statement)
        with pytest.raises(CorruptDataError):
            await documents.load("room", "doc")
        assert not health.healthy
        assert await documents.load("room", "other") is not None


async def test_a_damaged_message_is_not_handed_out(tmp_path: Path) -> None:
    async with open_commit_log(tmp_path) as log:
        queues = await SqliteQueueStore.open_store(log)
        jobs = await queues.open("room", "jobs")
        assert jobs is not None
        await queues.append(jobs.queue_id, b"message", limit=9)
        damage(tmp_path, "UPDATE queue_messages SET body = x'00'")
        assert await queues.load(jobs.queue_id) == []


async def test_a_document_is_repaired_by_a_snapshot_after_a_failure(tmp_path: Path) -> None:
    gate = CommitGate()
    async with open_commit_log(tmp_path, gate=gate) as log:
        documents = SqliteDocumentLog(log)
        made = await documents.create("room", "doc", schema_name="s", schema_json="{}")
        await documents.append(made.incarnation, b"1")
        gate.failures.append(disk_full())
        with pytest.raises(StoreFailedError):
            await documents.append(made.incarnation, b"2")
        last = await documents.append(made.incarnation, b"3")
        assert last == 2  # no gap: the failed update took no number
        await documents.write_snapshot(made.incarnation, b"123", upto_seq=last)
        whole = await documents.load("room", "doc")
        assert whole is not None
        assert (whole.snapshot, whole.updates) == (b"123", ())


async def test_a_snapshot_that_fails_leaves_the_history(tmp_path: Path) -> None:
    gate = CommitGate()
    async with open_commit_log(tmp_path, gate=gate) as log:
        documents = SqliteDocumentLog(log)
        before = await write_history(documents)
        gate.failures.append(disk_full())
        with pytest.raises(StoreFailedError):
            await documents.write_snapshot(before.incarnation, b"12345", upto_seq=5)
        assert await documents.load("room", "doc") == before


async def test_a_failed_send_does_not_fill_the_queue(tmp_path: Path) -> None:
    gate = CommitGate()
    async with open_commit_log(tmp_path, gate=gate) as log:
        queues = await SqliteQueueStore.open_store(log)
        jobs = await queues.open("room", "jobs")
        assert jobs is not None
        gate.failures.append(disk_full())
        sends = [queues.append(jobs.queue_id, b"%d" % n, limit=2) for n in range(2)]
        outcomes = await asyncio.gather(*sends, return_exceptions=True)
        stored = [outcome for outcome in outcomes if not isinstance(outcome, StoreFailedError)]
        for _ in range(2 - len(stored)):
            await queues.append(jobs.queue_id, b"again", limit=2)
        with pytest.raises(LimitExceededError):
            queues.append(jobs.queue_id, b"one more", limit=2)
        assert await queues.sizes("room") == {"jobs": 2}


async def test_a_removal_that_fails_leaves_the_message(tmp_path: Path) -> None:
    gate = CommitGate()
    async with open_commit_log(tmp_path, gate=gate) as log:
        queues = await SqliteQueueStore.open_store(log)
        jobs = await queues.open("room", "jobs")
        assert jobs is not None
        message_id = await queues.append(jobs.queue_id, b"work", limit=1)
        gate.failures.append(disk_full())
        with pytest.raises(StoreFailedError):
            await queues.remove(jobs.queue_id, [message_id])
        with pytest.raises(LimitExceededError):
            queues.append(jobs.queue_id, b"more", limit=1)
        gate.failures.append(disk_full())
        with pytest.raises(StoreFailedError):
            await queues.delete(jobs.queue_id)
        assert await queues.remove(jobs.queue_id, [message_id]) == 1


async def test_large_messages_are_loaded_in_pieces(tmp_path: Path) -> None:
    async with open_commit_log(tmp_path) as log:
        queues = await SqliteQueueStore.open_store(log)
        jobs = await queues.open("room", "jobs")
        assert jobs is not None
        ids = [await queues.append(jobs.queue_id, bytes(3_000_000), limit=9) for _ in range(3)]
        head = await queues.load(jobs.queue_id)
        assert [message.message_id for message in head] == ids[:2]
        rest = await queues.load(jobs.queue_id, after=head[-1].message_id)
        assert [message.message_id for message in rest] == ids[2:]
