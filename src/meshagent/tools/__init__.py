"""Tools that users, agents and programs call through a room, and the toolkits that group them."""

from meshagent.tools.context import ToolContext
from meshagent.tools.database import DatabaseToolkit
from meshagent.tools.documents import DocumentAuthoringToolkit, DocumentTypeAuthoringToolkit
from meshagent.tools.fetching import Fetcher
from meshagent.tools.function_tool import FunctionTool, tool
from meshagent.tools.hosting import RemoteToolkit
from meshagent.tools.multi_tool import MultiTool, MultiToolkit
from meshagent.tools.pydantic_tool import PydanticTool
from meshagent.tools.queues import QueueToolkit
from meshagent.tools.room_toolkit import RoomTool, RoomToolkit
from meshagent.tools.storage import StorageToolkit
from meshagent.tools.tool import BaseTool, RequestTool, Tool, ToolResult
from meshagent.tools.toolkit import Toolkit
from meshagent.tools.web import WebToolkit

__all__ = [
    # tools
    "BaseTool",
    "FunctionTool",
    "MultiTool",
    "PydanticTool",
    "RequestTool",
    "RoomTool",
    "Tool",
    "ToolContext",
    "ToolResult",
    "tool",
    # toolkits
    "MultiToolkit",
    "RemoteToolkit",
    "RoomToolkit",
    "Toolkit",
    # ready-made toolkits
    "DatabaseToolkit",
    "DocumentAuthoringToolkit",
    "DocumentTypeAuthoringToolkit",
    "Fetcher",
    "QueueToolkit",
    "StorageToolkit",
    "WebToolkit",
]
