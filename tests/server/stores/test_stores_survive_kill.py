"""What was acknowledged is there after the process was killed in the middle of writing."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

import pytest

from meshagent.server.stores.documents import StoredDocument
from meshagent.server.stores.local_files import LocalFileStores
from meshagent.server.stores.sqlite_documents import SqliteDocumentLog
from meshagent.server.stores.sqlite_queues import SqliteQueueStore
from tests.support.store_writer import file_content
from tests.support.stores import open_commit_log


async def acknowledged_until_killed(folder: Path, lines: int) -> list[list[str]]:
    """The acknowledgements of a writer that is killed once it has said this many."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.store_writer",
        str(folder),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)},
    )
    assert process.stdout is not None
    said = [await process.stdout.readline() for _ in range(lines)]
    process.kill()
    said += (await process.stdout.read()).splitlines(keepends=True)
    assert await process.wait() == -9
    return [line.decode().split() for line in said if line.endswith(b"\n")]


def texts_of(document: StoredDocument) -> list[str]:
    covered = (document.snapshot or b"").decode()
    return (covered.split(",") if covered else []) + [update.decode() for update in document.updates]


async def check_database(folder: Path, said: list[list[str]]) -> None:
    async with open_commit_log(folder) as log:
        documents, queues = SqliteDocumentLog(log), await SqliteQueueStore.open_store(log)
        for writer in range(4):
            document = await documents.load("room", f"doc{writer}")
            texts = [] if document is None else texts_of(document)
            assert texts == [f"{writer}:{number}" for number in range(1, len(texts) + 1)]
            acknowledged = [line for line in said if line[:2] == ["doc", str(writer)]]
            assert all(texts[int(seq) - 1] == text for _, _, seq, text in acknowledged)
        jobs = await queues.open("room", "jobs", window=10**6)
        assert jobs is not None
        present = {message.message_id: message.body.decode() for message in jobs.head}
        taken = {int(line[1]) for line in said if line[0] == "take"}
        assert not taken & present.keys()
        for _, message_id, text in (line for line in said if line[0] == "put"):
            # An unacknowledged removal may or may not have happened; only every third message is removed.
            assert present.get(int(message_id)) == text or int(text.split(":")[1]) % 3 == 0
        assert queues.next_message_id() > max(present, default=0)


async def check_files(folder: Path, said: list[list[str]]) -> None:
    stores = LocalFileStores(folder / "files")
    await stores.start()
    files = await stores.open("project", "room")
    for number in range(2):
        name = f"folder{number}/file"
        newest = max((int(line[2]) for line in said if line[:2] == ["file", name]), default=0)
        if newest:
            async with await files.open_read(name) as reader:
                content = await reader.read(0, reader.size)
            version = int(content[:9])
            assert version >= newest
            assert content == file_content(version)
    assert list((folder / "files" / "tmp").iterdir()) == []
    await stores.close()


async def kill_and_check(folder: Path, lines: int) -> None:
    said = await acknowledged_until_killed(folder, lines)
    assert len(said) >= lines
    await check_database(folder, said)
    await check_files(folder, said)


async def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    chance = random.Random(1)
    for run in range(2):
        await kill_and_check(tmp_path / str(run), chance.randrange(1, 400))


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_nothing_acknowledged_is_lost_in_many_kills(tmp_path: Path) -> None:
    chance = random.Random(2)
    for run in range(20):
        await kill_and_check(tmp_path / str(run), chance.randrange(1, 3000))
