"""Tools: functions that people, agents and programs call through a room, and the toolkits that group them."""

from meshagent.tools.context import ToolContext
from meshagent.tools.function_tool import FunctionTool, tool
from meshagent.tools.hosting import RemoteToolkit
from meshagent.tools.multi_tool import MultiTool, MultiToolkit
from meshagent.tools.pydantic_tool import PydanticTool
from meshagent.tools.room_toolkit import RoomTool, RoomToolkit
from meshagent.tools.tool import BaseTool, RequestTool, Tool, ToolResult
from meshagent.tools.toolkit import Toolkit

__all__ = [
    "BaseTool",
    "FunctionTool",
    "MultiTool",
    "MultiToolkit",
    "PydanticTool",
    "RemoteToolkit",
    "RequestTool",
    "RoomTool",
    "RoomToolkit",
    "Tool",
    "ToolContext",
    "ToolResult",
    "Toolkit",
    "tool",
]
