"""What a model has read of a thread, and what is new to it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshagent.agents.chat import ChatMessage, ThreadDocument
from meshagent.agents.chat.history import ThreadHistory
from meshagent.api.documents.builtin import builtin_schema
from meshagent.api.documents.runtime import RuntimeDocument
from meshagent.api.errors import InvalidStateError

EMPTY: dict[str, Any] = {"thread": {"properties": [{"members": {"items": []}}, {"messages": {"items": []}}]}}


def thread_document() -> ThreadDocument:
    schema = builtin_schema("thread")
    assert schema is not None
    return ThreadDocument(RuntimeDocument(schema, json=EMPTY))


def history(thread: ThreadDocument, *, document_timeout: float = 0.0, limit: int = 100) -> ThreadHistory:
    return ThreadHistory(thread, document_timeout=document_timeout, limit=limit)


async def took(tracked: ThreadHistory, sender: str, text: str) -> list[str]:
    return [f"{m.author}: {m.text}" for m in await tracked.read_new(sender, ChatMessage(path="t.thread", text=text))]


async def test_each_message_is_read_once() -> None:
    thread = thread_document()
    tracked = history(thread)
    thread.append_message(author="alice", text="one")
    assert await took(tracked, "alice", "one") == ["alice: one"]
    tracked.mark_read(thread.append_message(author="bot", text="answer").id)
    thread.append_message(author="bob", text="aside")
    thread.append_message(author="alice", text="two")
    assert await took(tracked, "alice", "two") == ["bob: aside", "alice: two"]


async def test_later_messages_are_left_for_their_own_turn() -> None:
    thread = thread_document()
    tracked = history(thread)
    thread.append_message(author="alice", text="one")
    assert await took(tracked, "alice", "one") == ["alice: one"]
    for text in ("two", "three", "two"):
        thread.append_message(author="alice", text=text)
    assert [await took(tracked, "alice", text) for text in ("two", "three", "two")] == [
        ["alice: two"],
        ["alice: three"],
        ["alice: two"],
    ]


async def test_the_latest_of_equal_texts_is_meant_in_an_old_thread() -> None:
    thread = thread_document()
    for text in ("yes", "no", "yes"):
        thread.append_message(author="alice", text=text)
    assert await took(history(thread), "alice", "yes") == ["alice: yes", "alice: no", "alice: yes"]


async def test_a_document_may_be_late() -> None:
    thread = thread_document()
    tracked = history(thread, document_timeout=5)
    waiting = asyncio.ensure_future(took(tracked, "alice", "one"))
    await asyncio.sleep(0)
    message = thread.append_message(author="alice", text="")  # written, and filled afterwards
    await asyncio.sleep(0)
    assert not waiting.done()
    message.set_attribute("text", "one")
    assert await waiting == ["alice: one"]


async def test_a_text_that_comes_after_its_message_is_not_read_again() -> None:
    thread = thread_document()
    tracked = history(thread)
    assert await took(tracked, "alice", "one") == ["alice: one"]
    thread.append_message(author="alice", text="one")
    thread.append_message(author="alice", text="two")
    assert await took(tracked, "alice", "two") == ["alice: two"]


async def test_a_long_thread_is_read_from_its_end() -> None:
    thread = thread_document()
    for number in range(10):
        thread.append_message(author="alice", text=str(number))
    assert await took(history(thread, limit=3), "alice", "9") == ["alice: 7", "alice: 8", "alice: 9"]


def test_a_document_without_messages_is_no_thread() -> None:
    schema = builtin_schema("thread")
    assert schema is not None
    with pytest.raises(InvalidStateError, match="messages"):
        ThreadDocument(RuntimeDocument(schema))
