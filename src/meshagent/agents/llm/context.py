"""A conversation with a language model, in a form that any provider's adapter can send."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from meshagent.api.jsontext import Json

__all__ = ["AgentChatContext"]

Message = dict[str, Any]


class AgentChatContext:
    """Rules for the model, and the messages so far.

    A message is one of four objects. Adapters translate them, so that one conversation can go on with another
    model:

    - `{"role": "user" or "assistant", "content": text or list of parts}`; a part is `{"type": "text", "text": …}` or
      `{"type": "image_url", "url": …}`
    - `{"type": "function_call", "call_id", "name", "arguments": JSON text}`
    - `{"type": "function_call_output", "call_id", "output": text}`

    Args:
        messages: The messages so far, oldest first.
        rules: Sentences that the model is to follow.
    """

    def __init__(self, *, messages: Sequence[Message] | None = None, rules: Sequence[str] | None = None) -> None:
        self.messages: list[Message] = list(messages or ())
        self.rules: list[str] = list(rules or ())

    def append_rules(self, rules: Sequence[str]) -> None:
        """Add rules; those that are there already are not repeated."""
        self.rules.extend(rule for rule in dict.fromkeys(rules) if rule not in self.rules)

    def replace_rules(self, rules: Sequence[str]) -> None:
        """Have these rules and no others."""
        self.rules = list(rules)

    def append_user_message(self, message: str) -> None:
        """Somebody says something."""
        self.messages.append({"role": "user", "content": message})

    def append_assistant_message(self, message: str) -> None:
        """The model has said something."""
        self.messages.append({"role": "assistant", "content": message})

    def append_user_image(self, url: str, text: str = "") -> None:
        """Somebody shows an image; `url` may be a `data:` URL."""
        parts: list[Message] = [{"type": "image_url", "url": url}]
        self.messages.append({"role": "user", "content": [{"type": "text", "text": text}, *parts] if text else parts})

    def append_tool_call(self, *, call_id: str, name: str, arguments: str) -> None:
        """The model has called a tool, with arguments in JSON text."""
        self.messages.append({"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments})

    def append_tool_result(self, *, call_id: str, output: str) -> None:
        """The tool has answered."""
        self.messages.append({"type": "function_call_output", "call_id": call_id, "output": output})

    def get_system_instructions(self) -> str | None:
        """The rules as one text, a line each; None if there are none."""
        return "\n".join(self.rules) if self.rules else None

    def copy(self) -> AgentChatContext:
        """An independent copy."""
        return AgentChatContext(messages=copy.deepcopy(self.messages), rules=self.rules)

    def to_json(self) -> dict[str, Json]:
        """The conversation as JSON."""
        return {"messages": copy.deepcopy(self.messages), "rules": list(self.rules)}

    @staticmethod
    def from_json(data: dict[str, Json]) -> AgentChatContext:
        """The conversation of its JSON form."""
        return AgentChatContext(messages=copy.deepcopy(data.get("messages")), rules=data.get("rules"))
