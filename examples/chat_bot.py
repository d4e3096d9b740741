"""A chat bot with its own tools. Stop it with Ctrl+C.

python chat_bot.py
meshagent chat --room examples --agent guide

It uses the language model that the server is configured for. Without one, it repeats what you write, and
`call route {"start": "home", "end": "work"}` makes it call a tool.
"""

import asyncio
from contextlib import suppress

from meshagent.agents import ChatBot, rejoin_forever
from meshagent.api import websocket_protocol
from meshagent.tools import ToolContext, Toolkit, tool
from meshagent.tools.storage import StorageToolkit

MINUTES = {("home", "work"): 25, ("work", "home"): 30}


@tool
async def route(context: ToolContext, start: str, end: str) -> dict[str, object]:
    """Look up how long it takes to get from one place to another.

    Args:
        start: Name of the start.
        end: Name of the destination.
    """
    return {"minutes": MINUTES.get((start, end)), "asked_by": context.beneficiary.get_attribute("name")}


class Guide(ChatBot):
    def __init__(self) -> None:
        super().__init__(
            name="guide",
            rules=["You help users find their way.", "Never guess travel times: look them up."],
            toolkits=[Toolkit("routes", [route]), StorageToolkit()],
            auto_greet_message="Where do you want to go?",
        )


async def main() -> None:
    await rejoin_forever(
        lambda: websocket_protocol(participant_name="guide", room_name="examples", role="agent"),
        Guide,
        on_started=lambda room: print("guide is in the room", flush=True),
    )


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
