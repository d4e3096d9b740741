"""`StreamedAnswer`: a model's text on its way into a thread."""

from __future__ import annotations

import asyncio
from typing import Any

from meshagent.agents.chat.streaming import StreamedAnswer
from meshagent.api.documents.nodes import Element
from meshagent.llm.events import TextDelta, TextFinished, TextStarted


class Message:
    """Stands for an element of a thread: records every text that it was given."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.is_deleted = False
        self.changed = asyncio.Event()

    def set_attribute(self, name: str, value: str) -> None:
        assert name == "text"
        self.texts.append(value)
        self.changed.set()

    def delete(self) -> None:
        self.is_deleted = True


class Thread:
    def __init__(self, interval: float = 3600.0) -> None:
        self.messages: list[Message] = []
        self.answer = StreamedAnswer(self.create, interval=interval)

    def create(self) -> Element:
        self.messages.append(Message())
        element: Any = self.messages[-1]
        return element  # type: ignore[no-any-return]  # a stand-in with the two methods that are used

    def stream(self, *texts: str) -> None:
        for text in texts:
            self.answer.on_event(TextDelta(text[-1:], text))


async def test_text_between_two_updates_is_written_once() -> None:
    thread = Thread()
    thread.answer.on_event(TextStarted())
    thread.stream("a", "ab", "abc")
    assert thread.messages[0].texts == ["a"]
    thread.answer.on_event(TextFinished("abcd"))
    assert thread.messages[0].texts == ["a", "abcd"]


async def test_growing_text_is_written_after_the_interval() -> None:
    thread = Thread(interval=0.0)
    thread.answer.on_event(TextStarted())
    thread.stream("a", "ab")
    thread.messages[0].changed.clear()
    await thread.messages[0].changed.wait()
    assert thread.messages[0].texts == ["a", "ab"]
    thread.answer.end()


async def test_each_piece_of_text_is_a_message() -> None:
    thread = Thread()
    for text in ("one", "two"):
        thread.answer.on_event(TextStarted())
        thread.stream(text)
        thread.answer.on_event(TextFinished(text))
    assert [message.texts for message in thread.messages] == [["one"], ["two"]]


async def test_a_piece_may_come_without_a_start() -> None:
    thread = Thread()
    thread.stream("a")
    thread.answer.on_event(TextFinished("a"))
    thread.answer.on_event(TextFinished("b"))
    thread.answer.on_event(TextFinished(""))
    assert [message.texts for message in thread.messages] == [["a"], ["b"]]


async def test_an_interrupted_piece_is_kept_and_reported() -> None:
    thread = Thread()
    thread.answer.on_event(TextStarted())
    thread.stream("a", "ab")
    thread.answer.end()
    assert thread.messages[0].texts == ["a", "ab"]
    assert thread.answer.unfinished_text == "ab"


async def test_an_empty_message_is_deleted() -> None:
    thread = Thread()
    thread.answer.on_event(TextStarted())
    thread.answer.end()
    assert thread.messages[0].is_deleted
    assert thread.answer.unfinished_text == ""
