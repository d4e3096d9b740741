"""A toolkit's host as a process of its own, which tests may stop: `python -m tests.support.host_process URL TOKEN`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.wire_client import connect

TOOLKIT: dict[str, Any] = {
    "name": "math",
    "public": True,
    "tools": {"add": {"description": "", "input_schema": {"type": "object"}}},
}


@asynccontextmanager
async def host_process(url: str, token: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that hosts `math` in the room `room` and answers each call with its name; killed at the end."""
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.host_process", url, token, stdout=asyncio.subprocess.PIPE, cwd=root
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"hosting\n"
        yield process
    finally:
        if process.returncode is None:
            os.kill(process.pid, signal.SIGKILL)
        await process.wait()


async def main(url: str, token: str) -> None:
    async with connect(url, token) as client:
        await client.ok("agent.register_toolkit", TOOLKIT)
        sys.stdout.write("hosting\n")
        sys.stdout.flush()
        while not client.closed:
            call = await client.expect("agent.tool_call.math")
            answer = {"type": "text", "text": "from the process"}
            await client.send("agent.tool_call_response", answer, message_id=call.id)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
