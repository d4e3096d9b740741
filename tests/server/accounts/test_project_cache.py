"""Values of projects are read once, and never outlive a change."""

from __future__ import annotations

import asyncio

from meshagent.server.accounts.project_cache import ProjectCache


class Source:
    """Numbers its reads; a read waits while the gate is closed."""

    def __init__(self) -> None:
        self.reads: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self, project_id: str) -> int:
        self.reads.append(project_id)
        number = len(self.reads)
        await self.gate.wait()
        return number


async def test_a_value_is_read_once_until_it_is_invalidated() -> None:
    source = Source()
    cache = ProjectCache(source.read)
    assert [await cache.of_project("a"), await cache.of_project("a"), await cache.of_project("b")] == [1, 1, 2]
    cache.invalidate("a")
    assert [await cache.of_project("a"), await cache.of_project("b")] == [3, 2]
    cache.invalidate()
    assert [await cache.of_project("a"), await cache.of_project("b")] == [4, 5]


async def test_a_value_that_was_read_before_a_change_is_not_kept() -> None:
    source = Source()
    cache = ProjectCache(source.read)
    source.gate.clear()
    early = asyncio.create_task(cache.of_project("a"))
    await asyncio.sleep(0)
    cache.invalidate("a")
    source.gate.set()
    assert await early == 1
    assert await cache.of_project("a") == 2
