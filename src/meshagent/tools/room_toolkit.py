"""`RoomToolkit`: use a toolkit hosted in the room like a local one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from meshagent.api.contracts.content import Body
from meshagent.api.room.descriptions import ToolDescription, ToolkitDescription
from meshagent.tools.context import ToolContext
from meshagent.tools.tool import Tool, ToolResult
from meshagent.tools.toolkit import Toolkit

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["RoomTool", "RoomToolkit"]


class RoomTool(Tool):
    """A tool hosted in the room. Executing it calls its host.

    Args:
        toolkit: Name of its toolkit.
        description: The tool as listed by the room; must have an input schema.
        participant_id: If this participant hosts a toolkit of that name, use its toolkit, even a private one.
    """

    def __init__(self, *, toolkit: str, description: ToolDescription, participant_id: str | None = None) -> None:
        super().__init__(
            name=description.name,
            title=description.title,
            description=description.description,
            input_schema=description.input_schema,
            thumbnail_url=description.thumbnail_url,
            defs=description.defs,
        )
        self._toolkit = toolkit
        self._participant_id = participant_id

    async def execute(self, context: ToolContext, *args: Any, **kwargs: Any) -> ToolResult:
        """Call the tool through the room; errors as `AgentsClient.invoke_tool`."""
        return await self._call(context, kwargs)

    async def invoke(self, context: ToolContext, arguments: Mapping[str, Any], attachment: bytes = b"") -> Body:
        """As `execute`. The host validates the arguments."""
        return await self._call(context, arguments)

    async def _call(self, context: ToolContext, arguments: Mapping[str, Any]) -> Body:
        on_behalf_of = context.on_behalf_of
        return await context.room.agents.invoke_tool(
            toolkit=self._toolkit,
            tool=self.name,
            arguments=arguments,
            participant_id=self._participant_id,
            on_behalf_of_id=None if on_behalf_of is None else on_behalf_of.id,
            caller_context=context.caller_context,
            attachment=context.attachment,
        )


class RoomToolkit(Toolkit):
    """A toolkit hosted in the room, without its request tools, because they have no JSON arguments.

    Args:
        description: The toolkit as listed by the room.
        participant_id: As in `RoomTool`.
        tools: Names of the tools to include. Default: all.

    Raises:
        NotFoundError: The toolkit lacks one of `tools`.
    """

    def __init__(
        self,
        description: ToolkitDescription,
        *,
        participant_id: str | None = None,
        tools: Collection[str] | None = None,
    ) -> None:
        chosen = description.tools if tools is None else [description.get_tool(name) for name in tools]
        super().__init__(
            description.name,
            [
                RoomTool(toolkit=description.name, description=tool, participant_id=participant_id)
                for tool in chosen
                if tool.input_schema is not None
            ],
            title=description.title,
            description=description.description,
            thumbnail_url=description.thumbnail_url,
        )

    @staticmethod
    async def find(
        room: RoomClient, name: str, *, participant_id: str | None = None, tools: Collection[str] | None = None
    ) -> RoomToolkit | None:
        """Return the toolkit of that name as visible to `participant_id`, or None if there is none.

        Raises:
            NotFoundError: The toolkit lacks one of `tools`.
        """
        for description in await room.agents.list_toolkits(participant_id=participant_id):
            if description.name == name:
                return RoomToolkit(description, participant_id=participant_id, tools=tools)
        return None
