"""Receives jobs from a queue and sends the results to another. Start several to share the work.

python queue_worker.py             processes jobs until Ctrl+C
python queue_worker.py send WORDS  sends a job for each word and waits for the results

`meshagent.agents.Worker` does the same, with retries.
"""

import asyncio
import sys
from contextlib import suppress

from meshagent.api import RoomClient, websocket_protocol


async def work() -> None:
    protocol = websocket_protocol(participant_name="worker", room_name="examples")
    async with RoomClient(protocol=protocol) as room:
        print("waiting for jobs", flush=True)
        while True:
            match await room.queues.receive("jobs"):
                case {"word": str(word)}:
                    await room.queues.send("results", {"word": word, "letters": len(word)})
                case other:
                    await room.queues.send("rejected", other)


async def send(words: list[str]) -> None:
    protocol = websocket_protocol(participant_name="sender", room_name="examples")
    async with RoomClient(protocol=protocol) as room:
        for word in words:
            await room.queues.send("jobs", {"word": word})  # durable when this returns
        for _ in words:
            match await room.queues.receive("results"):
                case {"word": word, "letters": letters}:
                    print(word, "has", letters, "letters")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(send(sys.argv[2:]) if sys.argv[1:2] == ["send"] else work())
