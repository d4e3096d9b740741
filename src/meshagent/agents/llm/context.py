"""`AgentChatContext`: a conversation with a language model, independent of the provider."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from meshagent.api.jsontext import Json

__all__ = ["AgentChatContext"]

Message = dict[str, Any]


class AgentChatContext:
    """Rules for the model, and the messages so far.

    Adapters translate messages to their provider's format, so a conversation can continue with another model.
    A message is one of:

    - `{"role": "user" or "assistant", "content": text or list of parts}`; a part is `{"type": "text", "text": …}` or
      `{"type": "image_url", "url": …}`
    - `{"type": "function_call", "call_id", "name", "arguments": JSON text}`
    - `{"type": "function_call_output", "call_id", "output": text}`

    Args:
        messages: The messages so far, oldest first.
        rules: Instructions for the model.
    """

    def __init__(self, *, messages: Sequence[Message] | None = None, rules: Sequence[str] | None = None) -> None:
        self.messages: list[Message] = list(messages or ())
        self.rules: list[str] = list(rules or ())

    def append_rules(self, rules: Sequence[str]) -> None:
        """Add rules, without duplicates."""
        self.rules.extend(rule for rule in dict.fromkeys(rules) if rule not in self.rules)

    def replace_rules(self, rules: Sequence[str]) -> None:
        """Replace all rules."""
        self.rules = list(rules)

    def append_user_message(self, message: str) -> None:
        """Append a user's text."""
        self.messages.append({"role": "user", "content": message})

    def append_assistant_message(self, message: str) -> None:
        """Append the model's text."""
        self.messages.append({"role": "assistant", "content": message})

    def append_user_image(self, url: str, text: str = "") -> None:
        """Append an image from a user, with optional text; `url` may be a `data:` URL."""
        parts: list[Message] = [{"type": "image_url", "url": url}]
        self.messages.append({"role": "user", "content": [{"type": "text", "text": text}, *parts] if text else parts})

    def append_tool_call(self, *, call_id: str, name: str, arguments: str) -> None:
        """Append a tool call by the model; `arguments` is JSON text."""
        self.messages.append({"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments})

    def append_tool_result(self, *, call_id: str, output: str) -> None:
        """Append the result of a tool call."""
        self.messages.append({"type": "function_call_output", "call_id": call_id, "output": output})

    def get_system_instructions(self) -> str | None:
        """Return the rules as one text, one per line, or None if there are none."""
        return "\n".join(self.rules) if self.rules else None

    def copy(self) -> AgentChatContext:
        """Return an independent copy."""
        return AgentChatContext(messages=copy.deepcopy(self.messages), rules=self.rules)

    def to_json(self) -> dict[str, Json]:
        """Return the conversation as JSON."""
        return {"messages": copy.deepcopy(self.messages), "rules": list(self.rules)}

    @staticmethod
    def from_json(data: dict[str, Json]) -> AgentChatContext:
        """Restore a conversation from `to_json`."""
        return AgentChatContext(messages=copy.deepcopy(data.get("messages")), rules=data.get("rules"))
