"""Chat in threads: `ChatBot`, and the protocol between chat agents and user interfaces."""

from meshagent.agents.chat.bot import ChatBot
from meshagent.agents.chat.protocol import ChatMessage, ToolkitChoice
from meshagent.agents.chat.thread import ThreadDocument, ThreadMessage

__all__ = ["ChatBot", "ChatMessage", "ThreadDocument", "ThreadMessage", "ToolkitChoice"]
