"""A notebook with semantic search, in a table of the room.

python notes.py add "The spare key is under the third flower pot"
python notes.py find "where are the keys?"
"""

import asyncio
import sys
from datetime import UTC, datetime

from meshagent.agents import HashingEmbedder
from meshagent.api import RoomClient, websocket_protocol
from meshagent.api.room_server_client import (
    FloatDataType,
    TextDataType,
    TimestampDataType,
    VectorDataType,
)

TABLE = "notes"
EMBEDDER = HashingEmbedder(dimensions=256)  # compares words; use an embedding model to compare meanings


async def add(room: RoomClient, text: str) -> None:
    [vector] = await EMBEDDER.embed([text])
    await room.database.insert(
        table=TABLE, records={"text": text, "at": datetime.now(UTC).isoformat(), "about": vector}
    )
    print("noted")


async def find(room: RoomClient, question: str) -> None:
    [vector] = await EMBEDDER.embed([question])
    for note in await room.database.search(table=TABLE, vector=vector, limit=3, select=["text", "at"]):
        print(f"{note['at'][:10]}  {note['text']}")


async def main(command: str, text: str) -> None:
    async with RoomClient(protocol=websocket_protocol(participant_name="reader", room_name="examples")) as room:
        await room.database.create_table_with_schema(
            name=TABLE,
            schema={
                "text": TextDataType(),
                "at": TimestampDataType(),
                "about": VectorDataType(size=EMBEDDER.dimensions, element_type=FloatDataType()),
            },
            mode="create_if_not_exists",
        )
        await {"add": add, "find": find}[command](room, text)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], " ".join(sys.argv[2:])))
