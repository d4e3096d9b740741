"""Lists the toolkits of a room, and calls the tools of `math_toolkit.py`."""

import asyncio

from meshagent.api import JsonResponse, RoomClient, RoomException, websocket_protocol


async def main() -> None:
    protocol = websocket_protocol(participant_name="caller", room_name="examples")
    async with RoomClient(protocol=protocol) as room:
        for toolkit in await room.agents.list_toolkits():
            print(toolkit.name, "has", ", ".join(tool.name for tool in toolkit.tools))

        answer = await room.agents.invoke_tool(toolkit="math", tool="add", arguments={"a": 2, "b": 3})
        assert isinstance(answer, JsonResponse)  # tools may also return text, a file, a link, or nothing
        print("2 + 3 =", answer.json["sum"])

        try:
            await room.agents.invoke_tool(toolkit="math", tool="divide", arguments={"a": 1, "b": 0})
        except RoomException as error:
            print("1 / 0:", error)


if __name__ == "__main__":
    asyncio.run(main())
