"""Answers questions from a queue with a language model, and writes the answers to files. Stop it with Ctrl+C.

python answering_worker.py
meshagent queue send --room examples questions '{"id": "one", "question": "Why is the sky blue?"}'

Questions that fail three times move to the queue `questions.failed`, with the error.
"""

import asyncio
from contextlib import suppress
from typing import Any

from meshagent.agents import AgentChatContext, Worker
from meshagent.api import RoomClient, websocket_protocol
from meshagent.tools import Toolkit


class Answerer(Worker):
    def __init__(self) -> None:
        super().__init__(name="answerer", queue="questions", rules=["Answer in one sentence."], retry_delay=0.1)

    async def process_message(self, *, chat_context: AgentChatContext, message: Any, toolkits: list[Toolkit]) -> Any:
        answer = await super().process_message(
            chat_context=chat_context, message=message["question"], toolkits=toolkits
        )
        path = f"answers/{message['id']}.txt"
        async with self.room.storage.open(path=path, overwrite=True) as file:
            await file.write(answer)
        print("wrote", path, flush=True)


async def main() -> None:
    async with RoomClient(protocol=websocket_protocol(participant_name="answerer", room_name="examples")) as room:
        worker = Answerer()
        await worker.start(room=room)
        print("waiting for questions", flush=True)
        try:
            await room.wait_for_close()
        finally:
            await worker.stop()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
