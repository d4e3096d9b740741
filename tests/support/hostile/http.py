"""Hostile HTTP: requests with changed paths, headers and bodies, and heads that are no HTTP at all."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any, Final

import aiohttp
from yarl import URL

from tests.support.hostile.mutations import any_text, any_value, mutated_bytes, mutated_value
from tests.support.server_process import ServerProcess
from tests.support.websocket_peer import Peer

_AT_A_TIME: Final = 16
_NO_HTTP_SHARE: Final = 0.2

_PATHS: Final = (
    "/rooms/hostile/storage",
    "/rooms/hostile/storage/a.txt",
    "/rooms/hostile/storage/folder/",
    "/rooms/hostile/storage:move",
    "/rooms/hostile/documents/http.document",
    "/rooms/hostile/mcp",
    "/rooms/hostile/v1/chat/completions",
    "/accounts/projects",
    "/schemas/thread",
    "/files/abc",
    "/healthz",
)
_HEADERS: Final = {
    "range": ("bytes=0-3", "bytes=-5", "bytes=7-", "bytes=0-0,2-3"),
    "if-match": ('"abc"', "*", 'W/"a", "b"'),
    "if-none-match": ("*", '"abc"'),
    "if-modified-since": ("Sat, 28 Nov 2026 00:00:00 GMT",),
    "content-range": ("bytes 0-3/10",),
    "content-encoding": ("gzip", "deflate", "identity"),
    "content-type": (
        "application/json",
        "application/merge-patch+json",
        "text/plain",
        "multipart/form-data; boundary=x",
    ),
    "accept": ("application/json, text/event-stream", "*/*;q=0.5"),
    "mcp-protocol-version": ("2025-06-18",),
}
_BODIES: Final[tuple[Any, ...]] = (
    [{"op": "add", "path": "/page/lines/-", "value": {"line": {"text": "a"}}}],
    [{"op": "test", "path": "", "value": None}, {"op": "move", "from": "/a", "path": "/b"}],
    {"page": {"lines": None}},
    {"source_path": "a.txt", "destination_path": "b.txt", "overwrite": True},
    {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "t", "arguments": {}}},
    {"model": "m", "messages": [{"role": "user", "content": "hello"}]},
)


async def http(server: ServerProcess, chance: random.Random, count: int) -> None:
    """Requests to all kinds of routes, some at a time; none may be answered with 500."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session:
        for start in range(0, count, _AT_A_TIME):
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(_AT_A_TIME, count - start)):
                    one = random.Random(chance.random())
                    if one.random() < _NO_HTTP_SHARE:
                        tasks.create_task(_send_noise(server, one))
                    else:
                        tasks.create_task(_send_request(server, session, one))


async def _send_request(server: ServerProcess, session: aiohttp.ClientSession, chance: random.Random) -> None:
    path = chance.choice(_PATHS)
    if chance.random() < 0.3:
        path += "/" + any_text(chance)
    headers = {name: chance.choice(texts) for name, texts in _HEADERS.items() if chance.random() < 0.2}
    headers = {name: _changed(text, chance) for name, text in headers.items()}
    if chance.random() < 0.95:
        headers["authorization"] = f"Bearer {server.token('mallory', 'hostile')}"
    body = json.dumps(
        mutated_value(chance.choice(_BODIES), chance) if chance.random() < 0.7 else any_value(chance)
    ).encode()
    if chance.random() < 0.2:
        body = mutated_bytes(body, chance)
    method = chance.choice(("GET", "PUT", "PATCH", "POST", "DELETE", "HEAD", "OPTIONS"))
    url = URL(server.url).with_path(path)
    if chance.random() < 0.3:
        url = url.with_query({chance.choice(("overwrite", "recursive", "toolkit", "ids")): any_text(chance)})
    try:
        async with session.request(method, url, headers=headers, data=body) as answer:
            text = await answer.read()
            assert answer.status != 500, (method, str(url), headers, body[:300], text[:300])
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
        pass  # the server answered before it had read the body, and closed


async def _send_noise(server: ServerProcess, chance: random.Random) -> None:
    """A request head with bytes changed; the answer is an error, a close, or nothing until the sender's end."""
    token = server.token("mallory", "hostile")
    head = (
        f"{chance.choice(('GET', 'PUT', 'POST'))} {chance.choice(_PATHS)} HTTP/1.1\r\nhost: localhost\r\n"
        f"authorization: Bearer {token}\r\ncontent-length: 4\r\n\r\nabcd"
    )
    async with await Peer.connect(server.port) as peer:
        peer.send(mutated_bytes(head.encode(), chance))
        peer.writer.write_eof()
        try:
            async with asyncio.timeout(20):
                while await peer.reader.read(2**16):
                    pass
        except ConnectionError:
            pass


def _changed(text: str, chance: random.Random) -> str:
    """A header's value with something changed that a client can still send."""
    if chance.random() < 0.5:
        return text
    changed = mutated_bytes(text.encode(), chance)
    return "".join(chr(byte) for byte in changed if 0x20 <= byte < 0x7F).strip()
