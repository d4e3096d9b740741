"""A chat bot that answers questions from the room's files. Stop it with Ctrl+C.

python file_expert.py
meshagent storage cp handbook.md room://handbook.md --room examples
meshagent chat --room examples --agent librarian

Its index follows all changes of files. The default embedder needs no model; for better results, pass your own
`Embedder` to both classes. Without a language model, search with `call rag_search {"query": "holidays"}`.
"""

import asyncio
from contextlib import suppress

from meshagent.agents import ChatBot, RagToolkit, StorageIndexer, rejoin_forever
from meshagent.api import RoomClient, websocket_protocol


class Librarian(ChatBot):
    def __init__(self) -> None:
        super().__init__(
            name="librarian",
            rules=["Answer from the files of the room. If they do not contain the answer, say so."],
            toolkits=[RagToolkit()],
        )
        self.indexer = StorageIndexer()

    async def start(self, *, room: RoomClient) -> None:
        await self.indexer.start(room=room)
        await self.indexer.until_indexed()
        await super().start(room=room)

    async def stop(self) -> None:
        await super().stop()
        await self.indexer.stop()


async def main() -> None:
    await rejoin_forever(
        lambda: websocket_protocol(participant_name="librarian", room_name="examples", role="agent"),
        Librarian,
        on_started=lambda room: print("librarian has read the files", flush=True),
    )


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
