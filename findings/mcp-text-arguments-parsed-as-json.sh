#!/bin/sh
# A text argument of an MCP tool is parsed as JSON, depending on how the tool's parameter is annotated.
#
# Versions: mcp 2.3.0
# Expected: a tool of `MCPServer` gets the text that its client sent. An argument that the schema does not name, and a
#   boolean for an integer, are refused.
# Observed: where the parameter is `str`, the text arrives. Where it is `str | None`, the text "null" arrives as None,
#   and "[1]" is refused because it is "not a valid string"; "5" and "true" arrive as texts. Where it is `Any`, "[1]"
#   arrives as a list. Arguments that the schema does not name are dropped silently; `true` is 1 for an integer.
# In the product: rooms' tools are served with the SDK's low-level server, which passes arguments as they came.
. "$(dirname "$0")/lib.sh"
install mcp==2.3.0
run_python <<'PY'
import asyncio
import logging
from typing import Any

import mcp
from mcp.server.mcpserver import MCPServer

logging.disable(logging.CRITICAL)
server = MCPServer("server")


@server.tool()
def plain(x: str) -> str:
    return repr(x)


@server.tool()
def optional(x: str | None = None) -> str:
    return repr(x)


@server.tool()
def anything(x: Any) -> str:
    return repr(x)


@server.tool()
def integer(x: int) -> str:
    return repr(x)


async def main() -> None:
    async with mcp.Client(server) as client:

        async def call(name: str, **arguments: Any) -> str:
            result = await client.call_tool(name, arguments)
            return "refused" if result.is_error else result.content[0].text

        for text in ("null", "[1]", "5", "true"):
            answers = [f"{name} {await call(name, x=text)}" for name in ("plain", "optional", "anything")]
            print(f"{text!r}:", ", ".join(answers))
        print("true for an integer:", await call("integer", x=True))
        print("an unknown argument:", await call("integer", x=1, y=2))


asyncio.run(main())
PY
expect <<'END'
'null': plain 'null', optional None, anything None
'[1]': plain '[1]', optional refused, anything [1]
'5': plain '5', optional '5', anything '5'
'true': plain 'true', optional 'true', anything 'true'
true for an integer: 1
an unknown argument: 1
END
