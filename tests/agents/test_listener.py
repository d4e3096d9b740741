"""Agents that follow documents, in a real room."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshagent.agents import Listener, ListenerContext
from meshagent.api import Element, RoomException
from tests.support.chatting import joined, working
from tests.support.server import TestServer

PATH = "notes.document"


class Recorder(Listener):
    """Records what it is told; ends at a heading that says `stop`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(name="recorder", **options)
        self.events: list[str] = []
        self.listening = asyncio.Event()
        self.changed = asyncio.Event()

    async def until(self, *events: str) -> None:
        async with asyncio.timeout(10):
            while self.events != list(events):
                self.changed.clear()
                await self.changed.wait()

    def record(self, event: str) -> None:
        self.events.append(event)
        self.changed.set()

    async def on_listening_started(self, listener_context: ListenerContext) -> None:
        self.record(f"started {listener_context.path} {len(listener_context.document.root.get_children())}")
        self.listening.set()

    async def on_element_inserted(self, listener_context: ListenerContext, element: Element) -> bool | None:
        await asyncio.sleep(0)  # changes that come meanwhile wait
        self.record(f"inserted {element.tag_name} {element['text']}")
        return bool(element["text"] == "stop")

    async def on_element_deleted(self, listener_context: ListenerContext, element: Element) -> bool | None:
        self.record(f"deleted {element['text']}")
        return None

    async def on_attribute_changed(
        self, listener_context: ListenerContext, element: Element, attribute: str
    ) -> bool | None:
        self.record(f"changed {attribute}")
        return None


async def test_a_listener_follows_its_own_document(server: TestServer) -> None:
    recorder = Recorder(path=PATH)
    async with joined(server, "alice") as alice:
        document = await alice.sync.open(PATH)
        document.root.append_child("heading", {"text": "before"})
        async with working(server, recorder):
            heading = document.root.append_child("heading", {"text": "one"})
            await recorder.until(f"started {PATH} 1", "inserted heading one")
            heading["text"] = "two"
            await recorder.until(f"started {PATH} 1", "inserted heading one", "changed text")
            heading.delete()
            await recorder.until(f"started {PATH} 1", "inserted heading one", "changed text", "deleted two")


async def test_a_listener_that_is_asked_answers_when_it_has_heard_enough(server: TestServer) -> None:
    recorder = Recorder()
    async with working(server, recorder), joined(server, "alice") as alice:
        asking = asyncio.ensure_future(alice.agents.ask(agent="recorder", arguments={"path": PATH}))
        await asyncio.wait_for(recorder.listening.wait(), 5)
        document = await alice.sync.open(PATH)
        for text in ("go", "stop", "after"):
            document.root.append_child("body", {"text": text})
        assert (await asyncio.wait_for(asking, 5)).json == {}
        assert recorder.events == [f"started {PATH} 0", "inserted body go", "inserted body stop"]


async def test_a_listener_that_falls_behind_says_so(server: TestServer) -> None:
    recorder = Recorder(max_changes_behind=2)
    async with working(server, recorder), joined(server, "alice") as alice:
        document = await alice.sync.open(PATH)
        asking = asyncio.ensure_future(alice.agents.ask(agent="recorder", arguments={"path": PATH}))
        await asyncio.wait_for(recorder.listening.wait(), 5)
        for number in range(10):  # all but the first arrive at once
            document.root.append_child("body", {"text": str(number)})
        with pytest.raises(RoomException, match="behind"):
            await asyncio.wait_for(asking, 5)


async def test_a_document_that_cannot_be_opened_keeps_a_listener_from_starting(server: TestServer) -> None:
    recorder = Recorder(path="no-such-extension.nothing")
    async with joined(server, "host", role="agent") as host:
        with pytest.raises(RoomException):
            await recorder.start(room=host)
        assert not recorder.is_started
