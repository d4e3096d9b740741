"""Tools that must be called together with others, for example with one that tells the user about each call."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from meshagent.api.contracts.content import Body
from meshagent.tools.context import ToolContext
from meshagent.tools.tool import Tool, ToolResult
from meshagent.tools.toolkit import Toolkit

__all__ = ["MultiTool", "MultiToolkit"]

log = logging.getLogger(__name__)


class MultiTool(Tool):
    """Combines a tool with companion tools. Its arguments contain those of each tool, under the tool's name.

    A call runs the companions first, in order, then the base tool, whose result is returned. A failing companion is
    logged and ignored.

    Args:
        required: The companion tools.
        base_tool: The tool; also provides name, title and description.
    """

    def __init__(self, *, required: Sequence[Tool], base_tool: Tool) -> None:
        self.required = list(required)
        self.base_tool = base_tool
        parts = [*self.required, base_tool]
        definitions: dict[str, Any] = {}
        properties = {part.name: _embeddable_schema(part, definitions) for part in parts}
        super().__init__(
            name=base_tool.name,
            title=base_tool.title,
            description=base_tool.description,
            input_schema={
                "type": "object",
                "additionalProperties": False,
                "required": list(properties),
                "properties": properties,
                **({"$defs": definitions} if definitions else {}),
            },
            rules=[rule for part in parts for rule in part.rules],
            thumbnail_url=base_tool.thumbnail_url,
        )

    async def execute(self, context: ToolContext, *args: Any, **kwargs: Any) -> ToolResult:
        """Call the companions, then the base tool. Only errors of the base tool are raised."""
        for companion in self.required:
            await self._call_companion(companion, context, kwargs[companion.name])
        return await self.base_tool.invoke(context, kwargs[self.base_tool.name], context.attachment)

    async def _call_companion(self, companion: Tool, context: ToolContext, arguments: Mapping[str, Any]) -> None:
        try:
            answer: Body = await companion.invoke(context, arguments)
            log.debug("%s before %s: %s", companion.name, self.name, answer)
        except Exception:
            log.warning("%s failed before %s", companion.name, self.name, exc_info=True)


class MultiToolkit(Toolkit):
    """A toolkit whose tools must be called together with companion tools; see `MultiTool`."""

    def __init__(self, *, required: Sequence[Tool], base_toolkit: Toolkit) -> None:
        super().__init__(
            base_toolkit.name,
            [
                MultiTool(required=required, base_tool=tool) if isinstance(tool, Tool) else tool
                for tool in base_toolkit.tools
            ],
            base_toolkit.rules,
            base_toolkit.title,
            base_toolkit.description,
            base_toolkit.thumbnail_url,
        )


def _embeddable_schema(part: Tool, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return a tool's schema for embedding. Its `$defs` move to `definitions`, prefixed with the tool's name."""
    schema = dict(part.full_schema)
    own = schema.pop("$defs", {})
    prefix = f"{part.name}_"
    definitions.update({prefix + name: _prefix_refs(definition, prefix) for name, definition in own.items()})
    embedded = _prefix_refs(schema, prefix)
    return {"description": part.description, **embedded} if part.description else dict(embedded)


def _prefix_refs(schema: Any, prefix: str) -> Any:
    if isinstance(schema, dict):
        return {
            key: value.replace("#/$defs/", f"#/$defs/{prefix}", 1)
            if key == "$ref" and isinstance(value, str)
            else _prefix_refs(value, prefix)
            for key, value in schema.items()
        }
    return [_prefix_refs(item, prefix) for item in schema] if isinstance(schema, list) else schema
