"""Hosts a toolkit of two tools, a function and a class, and calls them through the room."""

import asyncio
from typing import Annotated

from pydantic import Field

from meshagent.api import JsonResponse, RoomClient, RoomException, TextResponse, websocket_protocol
from meshagent.tools import RemoteToolkit, Tool, ToolContext, tool

BOOKS = {"emma": 160_000, "persuasion": 83_000}
UP_TO = {"type": "object", "required": ["max_words"], "properties": {"max_words": {"type": "integer"}}}


@tool(rules=["Say how long a book takes in hours, rounded."])
async def reading_time(title: str, words_per_minute: Annotated[int, Field(ge=50)] = 250) -> dict[str, float]:
    """Calculate how many hours it takes to read a book.

    Args:
        title: Title of the book, in lower case.
        words_per_minute: Reading speed.
    """
    if title not in BOOKS:
        raise ValueError(f"the library has no book {title!r}")
    return {"hours": BOOKS[title] / words_per_minute / 60}


class Recommend(Tool):
    def __init__(self) -> None:
        super().__init__(name="recommend", description="Recommends a short book.", input_schema=UP_TO)

    async def execute(self, context: ToolContext, *, max_words: int) -> str:
        fitting = [title for title, words in BOOKS.items() if words <= max_words]
        return f"{fitting[0]} for {context.caller.get_attribute('name')}" if fitting else "nothing that short"


def join(name: str) -> RoomClient:
    return RoomClient(protocol=websocket_protocol(participant_name=name, room_name="examples"))


async def main() -> None:
    toolkit = RemoteToolkit("library", [reading_time, Recommend()], description="Knows books.")
    async with join("librarian") as librarian, toolkit.hosted(librarian), join("reader") as reader:
        await reader.messaging.enable()  # lets tools see the name of their caller
        await librarian.messaging.enable()
        call = reader.agents.invoke_tool
        time = await call(toolkit="library", tool="reading_time", arguments={"title": "persuasion"})
        advice = await call(toolkit="library", tool="recommend", arguments={"max_words": 100_000})
        assert isinstance(time, JsonResponse)
        assert isinstance(advice, TextResponse)
        print(f"recommended: {advice.text}, {time['hours']:.1f} hours")
        try:
            await call(toolkit="library", tool="reading_time", arguments={"title": "ulysses"})
        except RoomException as error:
            print("refused:", error)


if __name__ == "__main__":
    asyncio.run(main())
