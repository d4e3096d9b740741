"""Descriptions of agents, toolkits and tools, and what agents require (protocol 9.2, 9.3)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from meshagent.api.errors import InvalidRequestError, NotFoundError

__all__ = [
    "AgentDescription",
    "RequiredSchema",
    "RequiredToolkit",
    "Requirement",
    "ToolDescription",
    "ToolkitDescription",
]

JsonObject = dict[str, Any]


class Requirement(ABC):
    """Something that an agent needs in the room, by name.

    Attributes:
        url: The service that brings it, called in if it is missing; None for what the server itself can bring.
    """

    def __init__(self, *, name: str, url: str | None = None) -> None:
        self.name = name
        self.url = url

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Requirement:
        """Read `{"toolkit": name, "tools": names or null}` or `{"schema": name}`.

        Raises:
            InvalidRequestError: It is neither.
        """
        if "toolkit" in data:
            return RequiredToolkit(name=data["toolkit"], tools=data.get("tools"))
        if "schema" in data:
            return RequiredSchema(name=data["schema"])
        raise InvalidRequestError("a requirement must have a `toolkit` or a `schema`")

    @abstractmethod
    def to_json(self) -> JsonObject:
        """Its JSON form."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.to_json()})"


class RequiredToolkit(Requirement):
    """Needs a toolkit; all of its tools, or those named in `tools`."""

    def __init__(self, *, name: str, tools: list[str] | None = None, url: str | None = None) -> None:
        super().__init__(name=name, url=url)
        self.tools = tools

    def to_json(self) -> JsonObject:
        return {"toolkit": self.name, "tools": self.tools}


class RequiredSchema(Requirement):
    """Needs a document schema."""

    def to_json(self) -> JsonObject:
        return {"schema": self.name}


class AgentDescription:
    """An agent that can be asked. Schemas are JSON Schemas of its input and output."""

    def __init__(
        self,
        name: str,
        title: str | None = None,
        description: str | None = None,
        input_schema: JsonObject | None = None,
        output_schema: JsonObject | None = None,
        requires: list[Requirement] | None = None,
        supports_tools: bool | None = False,
        labels: list[str] | None = None,
    ) -> None:
        self.name = name
        self.title = title
        self.description = description
        self.input_schema = input_schema
        self.output_schema = output_schema
        self.requires = requires if requires is not None else []
        self.supports_tools = bool(supports_tools)
        self.labels = labels if labels is not None else []

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> AgentDescription:
        """Read one entry of the room's list; only `name` must be there."""
        return AgentDescription(
            name=data["name"],
            title=data.get("title"),
            description=data.get("description"),
            input_schema=data.get("input_schema"),
            output_schema=data.get("output_schema"),
            requires=[Requirement.from_json(item) for item in data.get("requires") or []],
            supports_tools=data.get("supports_tools"),
            labels=data.get("labels"),
        )

    def to_json(self) -> JsonObject:
        """Its JSON form."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "input_schema": self.input_schema,
            "output_schema": self.output_schema,
            "requires": [requirement.to_json() for requirement in self.requires],
            "supports_tools": self.supports_tools,
            "labels": self.labels,
        }

    def __repr__(self) -> str:
        return f"<AgentDescription {self.name!r}>"


class ToolDescription:
    """A tool that can be invoked; without `input_schema` it takes a whole content (a request tool)."""

    def __init__(
        self,
        *,
        name: str,
        title: str | None = None,
        description: str | None = None,
        input_schema: JsonObject | None = None,
        thumbnail_url: str | None = None,
        defs: JsonObject | None = None,
        pricing: str | None = None,
        supports_context: bool | None = None,
    ) -> None:
        self.name = name
        self.title = title
        self.description = description
        self.input_schema = input_schema
        self.thumbnail_url = thumbnail_url
        self.defs = defs
        self.pricing = pricing
        self.supports_context = bool(supports_context)

    @staticmethod
    def from_json(name: str, data: Mapping[str, Any]) -> ToolDescription:
        """Read one member of a toolkit's `tools`."""
        return ToolDescription(
            name=name,
            title=data.get("title"),
            description=data.get("description"),
            input_schema=data.get("input_schema"),
            thumbnail_url=data.get("thumbnail_url"),
            defs=data.get("defs"),
            pricing=data.get("pricing"),
            supports_context=data.get("supports_context"),
        )

    def to_json(self) -> JsonObject:
        """Its JSON form inside a list of tools."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "input_schema": self.input_schema,
            "thumbnail_url": self.thumbnail_url,
            "defs": self.defs,
            "pricing": self.pricing,
            "supports_context": self.supports_context,
        }

    def __repr__(self) -> str:
        return f"<ToolDescription {self.name!r}>"


class ToolkitDescription:
    """A named group of tools."""

    def __init__(
        self,
        *,
        name: str,
        title: str | None = None,
        description: str | None = None,
        tools: Iterable[ToolDescription],
        thumbnail_url: str | None = None,
    ) -> None:
        self.name = name
        self.title = title
        self.description = description
        self.tools = list(tools)
        self.thumbnail_url = thumbnail_url

    @staticmethod
    def from_json(name: str, data: Mapping[str, Any]) -> ToolkitDescription:
        """Read one member of the room's `tools`, in which `tools` maps names to descriptions."""
        tools = data.get("tools") or {}
        return ToolkitDescription(
            name=name,
            title=data.get("title"),
            description=data.get("description"),
            tools=[ToolDescription.from_json(tool, description) for tool, description in tools.items()],
            thumbnail_url=data.get("thumbnail_url"),
        )

    def get_tool(self, name: str) -> ToolDescription:
        """The tool of that name; NotFoundError if there is none."""
        for tool in self.tools:
            if tool.name == name:
                return tool
        raise NotFoundError(f"toolkit {self.name!r} has no tool {name!r}")

    def to_json(self) -> JsonObject:
        """Its JSON form, with the tools as a list."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "thumbnail_url": self.thumbnail_url,
            "tools": [tool.to_json() for tool in self.tools],
        }

    def __repr__(self) -> str:
        return f"<ToolkitDescription {self.name!r} {[tool.name for tool in self.tools]}>"
