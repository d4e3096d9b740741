"""A `Worker` as a process of its own, which tests may kill: `python -m tests.support.worker_process ROOM_URL TOKEN`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from meshagent.agents import AgentChatContext, Worker
from meshagent.agents.llm.scripted import ScriptedAdapter
from meshagent.api import RoomClient
from meshagent.api.transport.websocket import WebSocketClientProtocol
from meshagent.tools import Toolkit


class Copier(Worker):
    """Copies each message of `jobs` to `results`."""

    def __init__(self) -> None:
        super().__init__(queue="jobs", name="copier", llm_adapter=ScriptedAdapter(), concurrency=4, lease=1.0)

    async def process_message(self, *, chat_context: AgentChatContext, message: Any, toolkits: list[Toolkit]) -> Any:
        await self.room.queues.send("results", message)


async def main(url: str, token: str) -> None:
    worker = Copier()
    async with RoomClient(protocol=WebSocketClientProtocol(url=url, token=token)) as room:
        await worker.start(room=room)
        sys.stdout.write("receiving\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
