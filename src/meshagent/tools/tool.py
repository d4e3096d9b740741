"""Base classes of tools: `Tool` with JSON arguments, `RequestTool` with a whole content."""

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
"""What tools return: a content, a dict (sent as JSON), a string (sent as text), or None (an empty content)."""


class BaseTool(ABC):
    """Common base class of all tools.

    Args:
        name: Unique in its toolkit.
        title: Display name. Default: `name`.
        description: What the tool does and when to use it, for users and models.
        rules: Instructions for models that may use the tool.
        thumbnail_url: URL of an image.
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
        """Validate the arguments, execute the tool, and convert the result to a content."""

    @abstractmethod
    def registration(self) -> RegisteredTool:
        """Return the description of the tool that is sent to the room."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


class Tool(BaseTool):
    """A tool with JSON arguments. Override `execute`.

    Args:
        input_schema: JSON Schema of the arguments, an object. Default: no arguments.
        defs: Definitions for `$ref`s in the schema, if not part of it.

        Other arguments: as `BaseTool`.
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
        self._checker = SchemaChecker(self.full_schema, subject=f"arguments of {name}")

    @property
    def full_schema(self) -> dict[str, Any]:
        """The input schema including `defs`."""
        if not self.defs:
            return self.input_schema
        return {**self.input_schema, "$defs": {**self.input_schema.get("$defs", {}), **self.defs}}

    @abstractmethod
    async def execute(self, context: ToolContext, *args: Any, **kwargs: Any) -> ToolResult:
        """Run the tool. Implementations name the arguments of their schema: `execute(self, context, *, a, b)`.

        Raises:
            Exception: Any failure; the caller receives its text.
        """

    async def invoke(self, context: ToolContext, arguments: Mapping[str, Any], attachment: bytes = b"") -> Body:
        """Validate the arguments against the schema and execute the tool.

        Raises:
            InvalidRequestError: The arguments do not match the schema; other errors come from the tool.
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
        """Run the tool; errors as in `Tool.execute`."""

    async def invoke(self, context: ToolContext, arguments: Mapping[str, Any], attachment: bytes = b"") -> Body:
        """Assemble the content and execute the tool.

        Raises:
            InvalidRequestError: The arguments are not the header of a content; other errors come from the tool.
        """
        if "type" not in arguments:
            raise InvalidRequestError(f"{self.name} requires a content: text, a file, a link or JSON")
        return ensure_response(await self.execute(context, unpack_body_parts(dict(arguments), attachment)))

    def registration(self) -> RegisteredTool:
        """Return a registration without input schema, which marks request tools (protocol 9.2)."""
        return RegisteredTool(title=self.title, description=self.description, thumbnail_url=self.thumbnail_url)
