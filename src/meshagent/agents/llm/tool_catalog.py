"""`ToolCatalog`: the tools of several toolkits under unique names for a model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from meshagent.llm.model import ToolDefinition
from meshagent.tools.tool import Tool
from meshagent.tools.toolkit import Toolkit

__all__ = ["CatalogEntry", "ToolCatalog"]

MAX_NAME_LENGTH: Final = 64
_FORBIDDEN: Final = re.compile(r"[^a-zA-Z0-9_-]")


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A tool, its toolkit, and the name under which the model calls it."""

    name: str
    toolkit: Toolkit
    tool: Tool


class ToolCatalog:
    """The tools that a model may call. Excludes request tools, because they have no JSON arguments.

    A tool keeps its own name if that is unique; otherwise it is called `TOOLKIT_TOOL`. Characters that providers
    reject become `_`.
    """

    def __init__(self, toolkits: Sequence[Toolkit]) -> None:
        pairs = [(toolkit, tool) for toolkit in toolkits for tool in toolkit.tools if isinstance(tool, Tool)]
        counts = Counter(_valid_name(tool.name) for _, tool in pairs)
        self._entries: dict[str, CatalogEntry] = {}
        for toolkit, tool in pairs:
            name = _valid_name(tool.name)
            if counts[name] > 1:
                name = _valid_name(f"{toolkit.name}_{tool.name}")
            name = self._unique_name(name)
            self._entries[name] = CatalogEntry(name, toolkit, tool)
        self.rules = [rule for toolkit in toolkits for rule in toolkit.all_rules()]

    def definitions(self) -> list[ToolDefinition]:
        """Return the definitions of all tools, to send to the model."""
        return [
            ToolDefinition(name, entry.tool.description or entry.tool.title, entry.tool.full_schema)
            for name, entry in self._entries.items()
        ]

    def find(self, name: str) -> CatalogEntry | None:
        """Return the tool of that name, or None if there is none: models may invent names."""
        return self._entries.get(name)

    def _unique_name(self, name: str) -> str:
        number = 2
        candidate = name
        while candidate in self._entries:
            candidate = f"{name[: MAX_NAME_LENGTH - 4]}_{number}"
            number += 1
        return candidate


def _valid_name(name: str) -> str:
    return _FORBIDDEN.sub("_", name)[:MAX_NAME_LENGTH] or "tool"
