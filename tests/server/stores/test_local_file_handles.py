"""Readers and writers of the local file store, without the store."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from meshagent.api.errors import InvalidStateError, LimitExceededError
from meshagent.server.stores.confined_folders import file_info
from meshagent.server.stores.disk import Disk
from meshagent.server.stores.local_file_handles import LocalReader, LocalWriter

T = TypeVar("T")
LARGE = b"x" * (256 * 1024)


async def run(function: Callable[[], T]) -> T:
    return function()


def writer(folder: Path, *, max_bytes: int | None = None, disk: Disk | None = None) -> LocalWriter:
    return LocalWriter(folder, disk or Disk.of("process"), run, max_bytes)


def reader(path: Path) -> LocalReader:
    descriptor = os.open(path, os.O_RDONLY)
    return LocalReader(file_info(path.name, descriptor), descriptor, run)


async def test_small_content_reaches_the_disk_at_the_end_only(tmp_path: Path) -> None:
    small = writer(tmp_path)
    await small.write(b"one ")
    await small.write(memoryview(b"two"))
    assert (small.size, os.listdir(tmp_path)) == (7, [])
    _, path = small.complete()
    assert path.read_bytes() == b"one two"
    small.remove()
    assert os.listdir(tmp_path) == []


async def test_large_content_is_written_as_it_comes(tmp_path: Path) -> None:
    large = writer(tmp_path)
    await large.write(b"begin")
    await large.write(LARGE)
    await large.write(b"end")
    (name,) = os.listdir(tmp_path)
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    _, path = large.complete()
    assert path.read_bytes() == b"begin" + LARGE + b"end"
    large.remove()


async def test_one_byte_too_many_is_refused_and_what_was_written_stays(tmp_path: Path) -> None:
    bounded = writer(tmp_path, max_bytes=3)
    await bounded.write(b"abc")
    with pytest.raises(LimitExceededError):
        await bounded.write(b"d")
    assert bounded.size == 3


async def test_a_writer_is_of_no_use_after_a_failed_write(tmp_path: Path) -> None:
    def refuse(descriptor: int, content: bytes | memoryview) -> int:
        raise OSError("no space left on device")

    broken = writer(tmp_path, disk=Disk(write=refuse))
    with pytest.raises(OSError, match="no space"):
        await broken.write(LARGE)
    with pytest.raises(InvalidStateError):
        await broken.write(b"more")
    with pytest.raises(InvalidStateError):
        broken.begin_publish()
    assert broken.begin_discard()
    assert not broken.begin_discard()
    broken.remove()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("size", [10, 100_000])
async def test_a_reader_reads_any_part_until_it_is_closed(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "a").write_bytes(content)
    async with reader(tmp_path / "a") as file:
        (tmp_path / "a").unlink()
        assert await file.read(0, size * 2) == content
        assert await file.read(3, 5) == content[3:8]
        chunks = [chunk async for chunk in file.iter_chunks(7, start=1, stop=size)]
        assert b"".join(chunks) == content[1:]
        assert {len(chunk) for chunk in chunks[:-1]} <= {7}
    assert file.fileno() is None
    with pytest.raises(InvalidStateError):
        await file.read(0, 1)
    await file.close()
