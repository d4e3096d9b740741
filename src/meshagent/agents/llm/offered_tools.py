"""The tools of several toolkits under names that a model can tell apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from meshagent.agents.llm.model import ToolDefinition
from meshagent.tools.tool import Tool
from meshagent.tools.toolkit import Toolkit

__all__ = ["OfferedTool", "OfferedTools"]

MAX_NAME_LENGTH: Final = 64
_FORBIDDEN: Final = re.compile(r"[^a-zA-Z0-9_-]")


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """One tool, its toolkit, and the name that the model knows it by."""

    name: str
    toolkit: Toolkit
    tool: Tool


class OfferedTools:
    """What a model may call. Request tools are left out: they have no arguments that it could give.

    A tool goes by its own name if no other tool has it, else by `TOOLKIT_TOOL`; characters that providers refuse
    become `_`.
    """

    def __init__(self, toolkits: Sequence[Toolkit]) -> None:
        pairs = [(toolkit, tool) for toolkit in toolkits for tool in toolkit.tools if isinstance(tool, Tool)]
        counts = Counter(_allowed(tool.name) for _, tool in pairs)
        self._tools: dict[str, OfferedTool] = {}
        for toolkit, tool in pairs:
            name = _allowed(tool.name)
            if counts[name] > 1:
                name = _allowed(f"{toolkit.name}_{tool.name}")
            name = self._unused(name)
            self._tools[name] = OfferedTool(name, toolkit, tool)
        self.rules = [rule for toolkit in toolkits for rule in toolkit.all_rules()]

    def definitions(self) -> list[ToolDefinition]:
        """All tools, for the model."""
        return [
            ToolDefinition(name, offered.tool.description or offered.tool.title, offered.tool.full_schema)
            for name, offered in self._tools.items()
        ]

    def find(self, name: str) -> OfferedTool | None:
        """The tool that the model means; None if it made the name up."""
        return self._tools.get(name)

    def _unused(self, name: str) -> str:
        number = 2
        candidate = name
        while candidate in self._tools:
            candidate = f"{name[: MAX_NAME_LENGTH - 4]}_{number}"
            number += 1
        return candidate


def _allowed(name: str) -> str:
    return _FORBIDDEN.sub("_", name)[:MAX_NAME_LENGTH] or "tool"
