"""`StorageIndexer` and `RagToolkit`: indexing and searching a room's files."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshagent.agents.embedding import HashingEmbedder
from meshagent.agents.indexer import RagToolkit, StorageIndexer
from meshagent.agents.text_chunks import split_text
from meshagent.api import RoomClient
from meshagent.api.contracts.data_types import TextDataType
from meshagent.tools import ToolContext
from tests.support.chatting import joined, working
from tests.support.server import TestServer


async def write(room: RoomClient, path: str, text: str) -> None:
    async with room.storage.open(path=path, overwrite=True) as file:
        await file.write(text.encode())


async def found(room: RoomClient, query: str, **options: Any) -> list[str]:
    context = ToolContext(room=room, caller=room.local_participant)
    answer = await RagToolkit(**options).rag_search(context, query)
    return [row["path"] for row in answer]


async def best(room: RoomClient, query: str) -> str:
    return (await found(room, query))[0]


async def test_files_are_found_by_what_they_say(server: TestServer) -> None:
    indexer = StorageIndexer()
    async with joined(server, "alice") as alice:
        await write(alice, "animals/cats.txt", "Cats sleep on the warm roof and purr.")
        await write(alice, "plan.md", "The meeting about the budget is on Tuesday.")
        await write(alice, ".hidden/secret.txt", "cats cats cats")
        async with working(server, indexer):
            await indexer.until_indexed()
            assert await best(alice, "a sleeping cat") == "animals/cats.txt"
            assert await best(alice, "budget meetings") == "plan.md"
            assert sorted(await found(alice, "anything")) == ["animals/cats.txt", "plan.md"]


async def test_changes_reach_the_index(server: TestServer) -> None:
    indexer = StorageIndexer(chunk_size=40)
    async with joined(server, "alice") as alice, working(server, indexer) as own:
        await indexer.until_indexed()

        async def settled(path: str, *, gone: bool = False) -> None:
            await own.storage.stat(path=path)  # the room's event about it came before this answer
            await indexer.until_indexed()

        await write(alice, "a.txt", "apples are red.\n\nbananas are yellow.\n\ncherries are sweet.")
        await settled("a.txt")
        assert len(await found(alice, "apples")) == 2
        await write(alice, "a.txt", "dates are brown.")
        await settled("a.txt")
        assert await found(alice, "apples") == ["a.txt"]
        await alice.storage.move(source_path="a.txt", destination_path="folder/b.txt")
        await settled("a.txt")
        assert await found(alice, "dates") == ["folder/b.txt"]
        await alice.storage.delete(path="folder", recursive=True)
        await settled("folder")
        assert await found(alice, "dates") == []


async def test_what_changed_while_the_indexer_was_away_is_found(server: TestServer) -> None:
    async with joined(server, "alice") as alice:
        await write(alice, "a.txt", "apples")
        await write(alice, "b.txt", "bananas")
        async with working(server, first := StorageIndexer()):
            await first.until_indexed()
        await alice.storage.delete(path="a.txt")
        await write(alice, "b.txt", "blueberries")
        async with working(server, second := StorageIndexer()):
            await second.until_indexed()
            assert await found(alice, "fruit") == ["b.txt"]
            rows = await alice.database.search(table="storage_index", select=["text"])
            assert [row["text"] for row in rows] == ["blueberries"]


async def test_another_embedder_makes_the_table_anew(server: TestServer) -> None:
    async with joined(server, "alice") as alice:
        await write(alice, "a.txt", "apples")
        async with working(server, first := StorageIndexer()):
            await first.until_indexed()
        small = HashingEmbedder(64)
        async with working(server, second := StorageIndexer(embedder=small)):
            await second.until_indexed()
            assert await found(alice, "apples", embedder=small) == ["a.txt"]


async def test_a_table_with_outdated_columns_is_rebuilt(server: TestServer) -> None:
    async with joined(server, "alice") as alice:
        await write(alice, "a.txt", "apples")
        await alice.database.create_table_with_schema(name="storage_index", schema={"embedder": TextDataType()})
        async with working(server, indexer := StorageIndexer()):
            await indexer.until_indexed()
            assert await found(alice, "apples") == ["a.txt"]


async def test_near_texts_have_near_vectors() -> None:
    texts = ["the invoice for the printer", "invoices of printers", "a walk in the woods"]
    invoice, invoices, walk = await HashingEmbedder().embed(texts)
    assert similarity(invoice, invoices) > 2 * abs(similarity(invoice, walk))


@given(st.text(max_size=40))
def test_vectors_have_length_one_and_stay_the_same(text: str) -> None:
    embedder = HashingEmbedder(32)
    vector = embedder._embed(text)
    assert len(vector) == 32
    assert similarity(vector, vector) == pytest.approx(1.0)
    assert HashingEmbedder(32)._embed(text) == vector


@given(st.text(alphabet="ab .\n", max_size=60), st.integers(1, 20))
def test_chunks_contain_the_whole_text_and_keep_to_the_size(text: str, size: int) -> None:
    chunks = split_text(text, size)
    assert all(0 < len(chunk) <= size for chunk in chunks)
    assert "".join("".join(chunks).split()) == "".join(text.split())


def similarity(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
