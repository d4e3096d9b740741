"""`Toolkit`: a named group of tools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from meshagent.api.contracts.content import Body
from meshagent.api.errors import AlreadyExistsError, NotFoundError
from meshagent.tools.context import ToolContext
from meshagent.tools.tool import BaseTool

__all__ = ["Toolkit"]


class Toolkit:
    """A named group of tools, with rules for the models that use them.

    Args:
        name: Unique in its room. Default: the class name.
        tools: The tools; their names must be unique.
        rules: Instructions for models that may use the toolkit.
        title: Display name. Default: `name`.
        description: What the tools are for.
        thumbnail_url: URL of an image.

    Raises:
        AlreadyExistsError: Two tools have the same name.
    """

    def __init__(
        self,
        name: str | None = None,
        tools: Iterable[BaseTool] = (),
        rules: Sequence[str] = (),
        title: str | None = None,
        description: str | None = None,
        thumbnail_url: str | None = None,
    ) -> None:
        self.name = name if name is not None else type(self).__name__
        self.tools = list(tools)
        self.rules = list(rules)
        self.title = title if title is not None else self.name
        self.description = description if description is not None else ""
        self.thumbnail_url = thumbnail_url
        seen: set[str] = set()
        for tool in self.tools:
            if tool.name in seen:
                raise AlreadyExistsError(f"toolkit {self.name!r} has two tools named {tool.name!r}")
            seen.add(tool.name)

    def get_tool(self, name: str) -> BaseTool:
        """Return the tool of that name.

        Raises:
            NotFoundError: There is no such tool.
        """
        for tool in self.tools:
            if tool.name == name:
                return tool
        raise NotFoundError(f"toolkit {self.name!r} has no tool {name!r}")

    async def execute(
        self, *, context: ToolContext, name: str, arguments: Mapping[str, Any], attachment: bytes | None = None
    ) -> Body:
        """Call a tool and return its content.

        Args:
            context: Caller and room.
            name: Name of the tool.
            arguments: The arguments; for a `RequestTool`, the header of a content.
            attachment: Bytes sent with the arguments; for a `RequestTool`, the content's bytes.

        Raises:
            NotFoundError: There is no such tool.
            InvalidRequestError: The arguments do not match its schema; other errors come from the tool.
        """
        tool = self.get_tool(name)
        if attachment:
            context = replace(context, attachment=attachment)
        return await tool.invoke(context, arguments, attachment or b"")

    def all_rules(self) -> list[str]:
        """Return the rules of the toolkit, followed by those of its tools."""
        return [*self.rules, *(rule for tool in self.tools for rule in tool.rules)]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {[tool.name for tool in self.tools]}>"
