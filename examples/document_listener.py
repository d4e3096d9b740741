"""Follows a document and maintains a table of contents in another one. Stop it with Ctrl+C.

Headings added to `plan.document` appear in `contents.document`.
"""

import asyncio
from contextlib import suppress

from meshagent.agents import Listener, ListenerContext
from meshagent.api import Element, RoomClient, websocket_protocol


class TableOfContents(Listener):
    def __init__(self) -> None:
        super().__init__(name="contents", path="plan.document")

    async def on_listening_started(self, listener_context: ListenerContext) -> None:
        self.contents = await listener_context.room.sync.open("contents.document")
        self.rewrite(listener_context)

    async def on_element_inserted(self, listener_context: ListenerContext, element: Element) -> bool | None:
        self.rewrite(listener_context)
        return None

    async def on_attribute_changed(
        self, listener_context: ListenerContext, element: Element, attribute: str
    ) -> bool | None:
        self.rewrite(listener_context)
        return None

    def rewrite(self, listener_context: ListenerContext) -> None:
        headings = [child for child in elements(listener_context.document.root) if child.tag_name == "heading"]
        wanted = [f"{number}. {heading['text']}" for number, heading in enumerate(headings, 1)]
        if wanted != [entry["text"] for entry in elements(self.contents.root)]:
            for entry in elements(self.contents.root):
                entry.delete()
            for line in wanted:
                self.contents.root.append_child("body", {"text": line})


def elements(parent: Element) -> list[Element]:
    return [child for child in parent.get_children() if isinstance(child, Element)]


async def main() -> None:
    async with RoomClient(protocol=websocket_protocol(participant_name="contents", room_name="examples")) as room:
        listener = TableOfContents()
        await listener.start(room=room)
        print("listening to plan.document", flush=True)
        try:
            await room.wait_for_close()
        finally:
            await listener.stop()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
