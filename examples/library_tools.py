"""Tools of three kinds in one toolkit, hosted in a room and called through it."""

import asyncio
from typing import Annotated

from pydantic import Field

from meshagent.api import FileResponse, JsonResponse, RoomClient, RoomException, TextResponse, websocket_protocol
from meshagent.api.messaging import Request
from meshagent.tools import RemoteToolkit, RequestTool, Tool, ToolContext, tool

BOOKS = {"emma": 160_000, "persuasion": 83_000}


@tool(rules=["Say how long a book takes in hours, rounded."])
async def reading_time(title: str, words_per_minute: Annotated[int, Field(ge=50)] = 250) -> dict[str, float]:
    """How many hours it takes to read a book.

    Args:
        title: The book, in small letters.
        words_per_minute: How fast one reads.
    """
    if title not in BOOKS:
        raise ValueError(f"the library has no book {title!r}")
    return {"hours": BOOKS[title] / words_per_minute / 60}


class Recommend(Tool):
    """A tool as a class, with a schema of its own, that looks at who calls."""

    def __init__(self) -> None:
        super().__init__(
            name="recommend",
            title="Recommend a book",
            description="Names a book of at most so many words.",
            input_schema={
                "type": "object",
                "additionalProperties": False,
                "required": ["max_words"],
                "properties": {"max_words": {"type": "integer"}},
            },
        )

    async def execute(self, context: ToolContext, *, max_words: int) -> str:
        fitting = [title for title, words in BOOKS.items() if words <= max_words]
        caller = context.caller.get_attribute("name") or "you"
        return f"{fitting[0]} for {caller}" if fitting else "nothing that short"


class CountWords(RequestTool):
    """A tool that takes a whole content, here a text file, instead of arguments."""

    def __init__(self) -> None:
        super().__init__(name="count_words", description="Counts the words of a text file.")

    async def execute(self, context: ToolContext, request: Request) -> dict[str, int]:
        return {"words": len((request.get_data() or b"").split())}


def join(name: str) -> RoomClient:
    return RoomClient(protocol=websocket_protocol(participant_name=name, room_name="library"))


async def main() -> None:
    toolkit = RemoteToolkit("library", [reading_time, Recommend(), CountWords()], description="Knows books.")
    async with join("librarian") as librarian, toolkit.hosted(librarian), join("reader") as reader:
        await librarian.messaging.enable()
        await reader.messaging.enable()
        agents = reader.agents

        time = await agents.invoke_tool(toolkit="library", tool="reading_time", arguments={"title": "persuasion"})
        assert isinstance(time, JsonResponse)
        print(f"persuasion takes {time['hours']:.1f} hours")

        advice = await agents.invoke_tool(toolkit="library", tool="recommend", arguments={"max_words": 100_000})
        assert isinstance(advice, TextResponse)
        print("recommended:", advice.text)

        file = FileResponse(name="a.txt", mime_type="text/plain", data=b"it is a truth")
        count = await agents.invoke_request_tool(toolkit="library", tool="count_words", request=file)
        assert isinstance(count, JsonResponse)
        print("words:", count["words"])

        try:
            await agents.invoke_tool(toolkit="library", tool="reading_time", arguments={"title": "ulysses"})
        except RoomException as error:
            print("refused:", error)


if __name__ == "__main__":
    asyncio.run(main())
