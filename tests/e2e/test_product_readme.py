"""The product's README: its snippets run as they stand, with only the address, ids and secret filled in.

The text is not part of this repository; the test reads it where it lies beside the checkout. The same calls
are in `examples/`, which are tested always.
"""

from __future__ import annotations

import ast
import asyncio
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

import meshagent.api
from meshagent.api import RoomClient, WebSocketClientProtocol
from tests.support.server import KEY_ID, PROJECT_ID, SECRET, TestServer

README = Path(__file__).resolve().parents[3] / "shared" / "spec" / "product-readme.md"

pytestmark = pytest.mark.skipif(not README.is_file(), reason="the product's README does not lie beside the checkout")


def snippets() -> list[str]:
    """The README's Python blocks, in order; a block whose body is only a comment gets a `pass`."""
    blocks = re.findall(r"```Python.*?\n(.*?)```", README.read_text(), re.DOTALL)
    return [re.sub(r"^( +)(#[^\n]*)\n*\Z", r"\1\2\n\1pass\n", block, flags=re.MULTILINE) for block in blocks]


def run(source: str, names: dict[str, Any]) -> Any:
    """Run a block that may await at its top level, in the namespace `names`."""
    code = compile(source, str(README), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, names)
    return result if asyncio.iscoroutine(result) else asyncio.sleep(0)


def test_every_block_is_known() -> None:
    found = snippets()
    assert len(found) == 4
    for start, block in zip(
        (
            "from meshagent.api import ParticipantToken",
            "from meshagent.api import WebSocketClientProtocol",
            "from meshagent.api import RoomClient",
            "from meshagent.api.services import ServiceHost",
        ),
        found,
        strict=True,
    ):
        assert block.startswith(start)


async def test_token_protocol_room_messaging_and_storage_run_as_written(server: TestServer) -> None:
    token_block, protocol_block, room_block, _ = snippets()
    for placeholder, value in (
        ("your-project-id", PROJECT_ID),
        ("your-api-key-id", KEY_ID),
        ("your-api-secret", SECRET),
    ):
        assert placeholder in token_block
        token_block = token_block.replace(placeholder, value)
    names: dict[str, Any] = {"room_url": server.room_url("my-room")}
    await run(token_block, names)
    async with RoomClient(
        protocol=WebSocketClientProtocol(url=server.room_url("my-room"), token=server.token("bob", room="my-room"))
    ) as bob:
        heard: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        bob.messaging.on("message", lambda message: heard.set_result(message))
        await bob.messaging.enable()
        await run(protocol_block, names)
        await run(room_block, names)
        async with asyncio.timeout(5):
            assert (await heard).message == {"text": "hello everyone!"}
        assert (await bob.storage.download(path="example.txt")).data == b"content"


async def test_the_room_block_runs_inside_the_protocol_block_too(server: TestServer) -> None:
    token_block, protocol_block, room_block, _ = snippets()
    token_block = token_block.replace("your-project-id", PROJECT_ID).replace("your-api-key-id", KEY_ID)
    names: dict[str, Any] = {"room_url": server.room_url("my-room")}
    await run(token_block.replace("your-api-secret", SECRET), names)
    nested = re.sub(r"^    pass\n", "", protocol_block, flags=re.MULTILINE) + textwrap.indent(room_block, "    ")
    await run(nested, names)


def test_the_package_exports_what_the_text_imports() -> None:
    for name in ("ParticipantToken", "WebSocketClientProtocol", "RoomClient", "WebhookServer", "MeshSchema"):
        assert hasattr(meshagent.api, name)
