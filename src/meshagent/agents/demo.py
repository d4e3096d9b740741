"""The chat bot in the demo room of `meshagent serve --demo`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from meshagent.agents.chat import ChatBot
from meshagent.agents.llm.adapter import LLMAdapter
from meshagent.agents.rejoin import rejoin_forever
from meshagent.api.transport.websocket import WebSocketClientProtocol
from meshagent.tools.database import DatabaseToolkit
from meshagent.tools.documents import DocumentAuthoringToolkit
from meshagent.tools.storage import StorageToolkit

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["DEMO_BOT_NAME", "DEMO_ROOM", "DemoBot", "run_demo_bot"]

DEMO_ROOM: Final = "demo"
DEMO_BOT_NAME: Final = "demo-bot"

GREETING: Final = (
    "Hello! I live in this room and can use its files, documents and tables. Without a language model I only repeat "
    "what you say; and `call list_files_in_room {}` makes me call a tool."
)
RULES: Final = (
    "You are the assistant of a demo room. Answer briefly.",
    "Use the tools for questions about the files, documents and tables of the room.",
)


class DemoBot(ChatBot):
    """A chat bot with tools for the room's files, documents and tables.

    Args:
        llm_adapter: The model; by default the room's.
    """

    def __init__(self, llm_adapter: LLMAdapter | None = None) -> None:
        super().__init__(
            name=DEMO_BOT_NAME,
            title="Demo bot",
            description="Answers questions about this room.",
            llm_adapter=llm_adapter,
            rules=RULES,
            toolkits=[StorageToolkit(), DocumentAuthoringToolkit(), DatabaseToolkit()],
            auto_greet_message=GREETING,
            empty_state_title="Say hello to the demo bot",
        )


async def run_demo_bot(
    url: str,
    token: str,
    *,
    llm_adapter: LLMAdapter | None = None,
    on_started: Callable[[RoomClient], None] | None = None,
) -> None:
    """Keep the demo bot in a room until cancelled. Raises the same errors as `rejoin_forever`.

    Args:
        url: The WebSocket URL of the room.
        token: A participant token. Its role should be `agent`, so that the bot alone does not keep the room running.
        llm_adapter: The model; by default the room's.
        on_started: Called each time the bot has started.
    """
    await rejoin_forever(
        lambda: WebSocketClientProtocol(url=url, token=token), lambda: DemoBot(llm_adapter), on_started=on_started
    )
