"""The yardstick: the room that one would write in an afternoon with aiohttp, following its documentation.

It checks a token, relays frames with `async for` and one `send_bytes` for each member, applies document updates to
pycrdt documents in memory, stores files with plain writes, and queues in SQLite, which alone are durable. It has no
room protocol, no grants and no bounds: a server that does all this at a ratio below 1 costs less than one that does
nothing of it.

    /rooms/{room}?token=    WebSocket: each binary frame goes to the other members
    /documents?token=       WebSocket: frames `1 byte path length | path | update`; without an update: subscribe
    /queue?token=           WebSocket: frames `8 bytes number | p | message` and `8 bytes number | g` are answered with
                            `number` and `number | message`; a get waits for a message
    /transfer/{name}        WebSocket: binary frames are written to a file until an empty one; text `get` sends it back
    /files/{name}           PUT and GET over HTTP
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
from dataclasses import dataclass, field
from pathlib import Path

import jwt
import uvloop
from aiohttp import WSMsgType, web
from pycrdt import Doc, XmlFragment

FRAME_SIZE = 64 * 1024


class SqliteQueue:
    """A durable queue by hand: one table, one transaction for each message."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY, body BLOB)")
        self._arrived = asyncio.Condition()

    async def put(self, body: bytes) -> None:
        """Store a message."""
        self._database.execute("INSERT INTO messages (body) VALUES (?)", (body,))
        async with self._arrived:
            self._arrived.notify()

    async def get(self) -> bytes:
        """Take the oldest message; wait for one."""
        while True:
            row = self._database.execute(
                "DELETE FROM messages WHERE id = (SELECT min(id) FROM messages) RETURNING body"
            ).fetchall()
            if row:
                return bytes(row[0][0])
            async with self._arrived:
                await self._arrived.wait()


@dataclass(slots=True)
class OpenDocument:
    """A document in memory and who reads it."""

    doc: Doc[XmlFragment] = field(default_factory=Doc[XmlFragment])
    readers: set[web.WebSocketResponse] = field(default_factory=set)


class YardstickRoom:
    """The handlers, with their rooms and documents."""

    def __init__(self, secret: str, folder: Path) -> None:
        self._secret = secret
        self._folder = folder
        self._rooms: dict[str, set[web.WebSocketResponse]] = {}
        self._documents: dict[str, OpenDocument] = {}
        self._queue = SqliteQueue(folder / "queue.sqlite")

    def application(self) -> web.Application:
        """The aiohttp application that serves it."""
        application = web.Application(client_max_size=1 << 31)
        application.router.add_get("/rooms/{room}", self.room)
        application.router.add_get("/documents", self.documents)
        application.router.add_get("/queue", self.queue)
        application.router.add_get("/transfer/{name}", self.transfer)
        application.router.add_put("/files/{name}", self.upload)
        application.router.add_get("/files/{name}", self.download)
        return application

    async def _accept(self, request: web.Request) -> web.WebSocketResponse:
        try:
            jwt.decode(request.query["token"], self._secret, algorithms=["HS256"])
        except (KeyError, jwt.InvalidTokenError) as error:
            raise web.HTTPUnauthorized from error
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        return socket

    async def room(self, request: web.Request) -> web.WebSocketResponse:
        """Relay every frame to the other members."""
        socket = await self._accept(request)
        members = self._rooms.setdefault(request.match_info["room"], set())
        members.add(socket)
        try:
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    for member in list(members):
                        if member is not socket:
                            await member.send_bytes(message.data)
        finally:
            members.discard(socket)
        return socket

    async def documents(self, request: web.Request) -> web.WebSocketResponse:
        """Apply every update and relay it to the other readers of the document."""
        socket = await self._accept(request)
        async for message in socket:
            if message.type is not WSMsgType.BINARY:
                break
            data: bytes = message.data
            end = 1 + data[0]
            path, update = data[1:end].decode(), data[end:]
            document = self._documents.setdefault(path, OpenDocument())
            if not update:
                document.readers.add(socket)
                await socket.send_bytes(data + document.doc.get_update())
                continue
            document.doc.apply_update(update)
            for reader in list(document.readers):
                if reader is not socket:
                    await reader.send_bytes(data)
        for document in self._documents.values():
            document.readers.discard(socket)
        return socket

    async def queue(self, request: web.Request) -> web.WebSocketResponse:
        """Messages into the queue and out of it."""
        socket = await self._accept(request)
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                number, action, body = message.data[:8], message.data[8:9], message.data[9:]
                if action == b"p":
                    await self._queue.put(body)
                    await socket.send_bytes(number)
                else:
                    await socket.send_bytes(number + await self._queue.get())
        return socket

    async def transfer(self, request: web.Request) -> web.WebSocketResponse:
        """A file in frames, there and back."""
        socket = await self._accept(request)
        path = self._folder / request.match_info["name"]
        with path.open("ab+") as file:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    file.seek(0)
                    while chunk := file.read(FRAME_SIZE):
                        await socket.send_bytes(chunk)
                elif message.data:
                    file.write(message.data)
                    continue
                file.flush()
                await socket.send_bytes(b"")
        return socket

    async def upload(self, request: web.Request) -> web.Response:
        """Store a request's body."""
        path = self._folder / request.match_info["name"]
        with path.with_suffix(".part").open("wb") as file:
            async for chunk in request.content.iter_any():
                file.write(chunk)
        path.with_suffix(".part").replace(path)
        return web.Response(status=201)

    async def download(self, request: web.Request) -> web.FileResponse:
        """Send a stored file."""
        return web.FileResponse(self._folder / request.match_info["name"])


async def serve(secret: str, folder: Path) -> None:
    """Listen on a free port of the loopback interface, print its URL, and run until the process is ended."""
    runner = web.AppRunner(YardstickRoom(secret, folder).application(), access_log=None, handle_signals=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    print(f"http://{host}:{port}", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Run the yardstick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--secret", required=True, help="checks the tokens (HS256)")
    parser.add_argument("--folder", type=Path, required=True, help="where files go")
    given = parser.parse_args()
    try:
        uvloop.run(serve(given.secret, given.folder))
    except (KeyboardInterrupt, web.GracefulExit):
        sys.exit(0)


if __name__ == "__main__":
    main()
