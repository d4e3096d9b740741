"""An MCP server for tests: in this process, or as a program that speaks through standard input and output."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer


def make_server() -> MCPServer:
    """A server with tools that answer, fail, and die."""
    from mcp.server.mcpserver import Image, MCPServer  # it takes a second, so not before a test wants it

    server = MCPServer("math")

    @server.tool(title="Add", description="adds two numbers")
    def add(a: int, b: int) -> int:
        return a + b

    @server.tool(structured_output=False)
    def greet(name: str) -> str:
        return f"hello {name}"

    @server.tool(structured_output=False)
    def picture() -> Any:
        return Image(data=b"\x89PNG", format="png")

    @server.tool()
    def fail() -> str:
        raise ValueError("too small")

    @server.tool()
    def die() -> str:
        os._exit(3)

    return server


if __name__ == "__main__":
    make_server().run()
