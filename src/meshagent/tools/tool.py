"""Tools: named functions that people, programs and language models call through a room."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from meshagent.api.contracts.agents import RegisteredTool
from meshagent.api.contracts.content import Body, ensure_response, unpack_body_parts
from meshagent.api.documents.jsonschemas import no_arguments_schema
from meshagent.api.errors import InvalidRequestError
from meshagent.tools.context import ToolContext
from meshagent.tools.validation import SchemaChecker

__all__ = ["BaseTool", "RequestTool", "Tool", "ToolResult"]

ToolResult: TypeAlias = "Body | dict[str, Any] | str | None"
"""What tools return: a content; or a dict, which becomes JSON, text, or None for nothing."""


class BaseTool(ABC):
    """What all tools have in common.

    Args:
        name: How it is called; unique in its toolkit.
        title: For people; the name by default.
        description: What it does and when to use it, for people and for models.
        rules: Sentences for models that are given the tool.
        thumbnail_url: A picture of it.
    """

    def __init__(
        self,
        *,
        name: str,
        title: str | None = None,
        description: str | None = None,
        rules: Sequence[str] | None = None,
        thumbnail_url: str | None = None,
    ) -> None:
        self.name = name
        self.title = title if title is not None else name
        self.description = description if description is not None else ""
        self.rules = list(rules or ())
        self.thumbnail_url = thumbnail_url

    @abstractmethod
    async def invoke(self, context: ToolContext, arguments: Mapping[str, Any], attachment: bytes = b"") -> Body:
        """Run the tool as the room calls it: check the arguments, execute, and make a content of the result."""

    @abstractmethod
    def registration(self) -> RegisteredTool:
        """How the room learns of the tool."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


class Tool(BaseTool):
    """A tool with JSON arguments. Override `execute`.

    Args:
        input_schema: JSON Schema of the arguments, an object; none at all by default.
        defs: Definitions for `$ref`s of the schema, if they are kept apart from it.
    """

    def __init__(
        self,
        *,
        name: str,
        title: str | None = None,
        description: str | None = None,
        input_schema: Mapping[str, Any] | None = None,
        rules: Sequence[str] | None = None,
        thumbnail_url: str | None = None,
        defs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(name=name, title=title, description=description, rules=rules, thumbnail_url=thumbnail_url)
        self.input_schema = dict(input_schema) if input_schema is not None else no_arguments_schema()
        self.defs = None if defs is None else dict(defs)
        self._checker = SchemaChecker(self.full_schema, subject=f"the arguments of {name}")

    @property
    def full_schema(self) -> dict[str, Any]:
        """The input schema with its definitions in it."""
        if not self.defs:
            return self.input_schema
        return {**self.input_schema, "$defs": {**self.input_schema.get("$defs", {}), **self.defs}}

    @abstractmethod
    async def execute(self, context: ToolContext, *args: Any, **kwargs: Any) -> ToolResult:
        """Do the work. Implementations name the arguments of their schema: `execute(self, context, *, a, b)`.

        Raises:
            Exception: Any failure; its text is what the caller reads.
        """

    async def invoke(self, context: ToolContext, arguments: Mapping[str, Any], attachment: bytes = b"") -> Body:
        """Check the arguments against the schema, and execute.

        Raises:
            InvalidRequestError: The arguments do not fit; other errors come from the tool.
        """
        self._checker.check(dict(arguments))
        return ensure_response(await self.execute(context, **arguments))

    def registration(self) -> RegisteredTool:
        return RegisteredTool(
            title=self.title,
            description=self.description,
            input_schema=self.input_schema,
            thumbnail_url=self.thumbnail_url,
            defs=self.defs,
        )


class RequestTool(BaseTool):
    """A tool that takes a whole content, such as a file, instead of arguments. Override `execute`."""

    @abstractmethod
    async def execute(self, context: ToolContext, request: Body) -> ToolResult:
        """Do the work; errors as in `Tool.execute`."""

    async def invoke(self, context: ToolContext, arguments: Mapping[str, Any], attachment: bytes = b"") -> Body:
        """Put the content together, and execute.

        Raises:
            InvalidRequestError: The arguments are no content's header; other errors come from the tool.
        """
        if "type" not in arguments:
            raise InvalidRequestError(f"{self.name} takes a content: text, a file, a link or JSON")
        return ensure_response(await self.execute(context, unpack_body_parts(dict(arguments), attachment)))

    def registration(self) -> RegisteredTool:
        """A registration without an input schema, which is what tells request tools (spec room-protocol 5.5.2)."""
        return RegisteredTool(title=self.title, description=self.description, thumbnail_url=self.thumbnail_url)
