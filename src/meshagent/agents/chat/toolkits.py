"""Select the toolkits for answering one chat message (protocol 17.3, 17.4)."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from meshagent.agents.chat.protocol import ToolkitChoice
from meshagent.api.errors import NotFoundError
from meshagent.api.room.descriptions import RequiredToolkit, Requirement, ToolkitDescription
from meshagent.tools.multi_tool import MultiToolkit
from meshagent.tools.room_toolkit import RoomTool, RoomToolkit
from meshagent.tools.toolkit import Toolkit

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["room_toolkits"]

log = logging.getLogger(__name__)

UI: Final = "ui"
SHOW_TOAST: Final = "show_toast"


async def room_toolkits(
    room: RoomClient, requires: Iterable[Requirement], choices: Iterable[ToolkitChoice], participant_id: str
) -> list[Toolkit]:
    """Return the hosted toolkits for one message: those the agent requires, and those the user chose.

    Toolkits are resolved as visible to the user: one hosted by the user takes precedence over a public one of the same
    name. If the user's client can show toasts, every tool call must include one, so that the user sees what the agent
    is doing.

    Raises:
        NotFoundError: A required toolkit is not in the room. A chosen one that is missing is skipped.
    """
    required = [requirement for requirement in requires if isinstance(requirement, RequiredToolkit)]
    chosen = list(choices)
    if not required and not chosen:
        return []
    visible = {toolkit.name: toolkit for toolkit in await room.agents.list_toolkits(participant_id)}
    found: dict[str, RoomToolkit] = {}
    for requirement in required:
        if requirement.name not in visible:
            raise NotFoundError(f"required toolkit {requirement.name!r} is not in this room")
        found[requirement.name] = RoomToolkit(
            visible[requirement.name], participant_id=participant_id, tools=requirement.tools
        )
    for choice in chosen:
        if choice.name not in visible:
            log.info("toolkit %s, chosen by the user, is not in this room", choice.name)
        elif choice.name not in found:
            tools = _existing_tools(visible[choice.name], choice.tools)
            found[choice.name] = RoomToolkit(visible[choice.name], participant_id=participant_id, tools=tools)
    toast = _toast_tool(visible.get(UI), participant_id)
    if toast is None:
        return list(found.values())
    return [
        toolkit if name == UI else MultiToolkit(required=[toast], base_toolkit=toolkit)
        for name, toolkit in found.items()
    ]


def _existing_tools(toolkit: ToolkitDescription, tools: tuple[str, ...] | None) -> list[str] | None:
    if tools is None:
        return None
    names = {tool.name for tool in toolkit.tools}
    return [tool for tool in tools if tool in names]


def _toast_tool(ui: ToolkitDescription | None, participant_id: str) -> RoomTool | None:
    for tool in [] if ui is None else ui.tools:
        if tool.name == SHOW_TOAST and tool.input_schema is not None:
            return RoomTool(toolkit=UI, description=tool, participant_id=participant_id)
    return None
