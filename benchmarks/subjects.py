"""The two things that are measured, behind one interface: the real server and the yardstick.

Every figure of a benchmark is taken from both in turn by the same load generator, so that the machine, the Python and
the noise are the same.
"""

from __future__ import annotations

import base64
import re
import secrets
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import jwt

from benchmarks.load import Connection, FrameReader, client_frame
from benchmarks.support import (
    SERVER,
    YARDSTICK,
    Options,
    child,
    drained,
    process_tree,
    raise_descriptor_limit,
    read_until,
)
from meshagent.api.wire import envelope
from meshagent.api.wire.packets import Message, Reassembler, iter_packets

CLIENT_PACKET: Final = 1024
"""Bytes of data in a packet of existing clients."""

BULK_PACKET: Final = 64 * 1024
"""The same of a client that sends files in large packets."""

FIRST_EDIT_ID: Final = 1_000_000
"""Message ids of document edits count up from here, so that an answer tells which edit it acknowledges."""

MAX_MESSAGE_SIZE: Final = 1 << 30


class DocumentFeed(ABC):
    """What arrives on a connection with open documents: updates of others and acknowledgements of one's own."""

    @abstractmethod
    def feed(self, data: bytes) -> tuple[list[bytes], list[int]]:
        """The updates that `data` completes, and the numbers of the edits that it acknowledges."""


class Subject(ABC):
    """A running server. `pid` is the root of its processes."""

    name: str

    def __init__(self, port: int, pid: int, secret: str) -> None:
        self.port = port
        self.pid = pid
        self._secret = secret

    def pids(self) -> list[int]:
        """Its processes."""
        return process_tree(self.pid)

    def token(self, room: str, name: str) -> str:
        """A participant token that both servers accept."""
        claims = {"name": name, "grants": [{"name": "room", "scope": room}, {"name": "role", "scope": "user"}]}
        return jwt.encode(claims, self._secret, algorithm="HS256")

    @abstractmethod
    async def join(self, room: str, token: str, *, messaging: bool = False) -> Connection:
        """Join `room`; with `messaging`, receive what others broadcast."""

    @abstractmethod
    def broadcasts(self, texts: Sequence[str]) -> list[bytes]:
        """Frames that send each of `texts` to everybody else, all of one size if the texts are."""

    async def deploy_schema(self, room: str, name: str, schema: bytes) -> None:  # noqa: B027 - the yardstick has none
        """Say what documents with the extension `name` look like."""

    @abstractmethod
    async def join_documents(self, room: str, token: str, paths: Sequence[str]) -> Connection:
        """Join `room` and open the documents at `paths`, made if missing."""

    @abstractmethod
    def edits(self, path: str, updates: Sequence[bytes]) -> list[bytes]:
        """Frames that send Yjs updates to the document at `path`."""

    @abstractmethod
    def document_feed(self) -> DocumentFeed:
        """A reader for a connection of `join_documents`."""

    @abstractmethod
    async def upload_frames(self, room: str, name: str, data: bytes) -> None:
        """Store a file over a WebSocket."""

    @abstractmethod
    async def download_frames(self, room: str, name: str) -> bytes:
        """Fetch a file over a WebSocket."""

    @abstractmethod
    async def http_upload(self, room: str, name: str) -> tuple[str, str]:
        """Method and target of the HTTP request that stores a file."""

    @abstractmethod
    async def http_download(self, room: str, name: str) -> str:
        """Target of the HTTP request that fetches a file."""


# --- the server ---------------------------------------------------------------------------------------------------


def message_frames(message_id: int, message_type: str, data: bytes, packet: int = CLIENT_PACKET) -> bytes:
    """The frames of one message of the room protocol."""
    return b"".join(client_frame(part) for part in iter_packets(message_id, message_type, data, packet))


class Session:
    """Requests and answers on one connection of the room protocol, for all that happens off the clock."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._messages = Reassembler(MAX_MESSAGE_SIZE)
        self._next_id = 1

    async def message(self, message_type: str, message_id: int | None = None) -> Message:
        """The next message of that type (and id); others are skipped."""
        while True:
            message = self._messages.receive(await self.connection.receive())
            if message is None or message.type != message_type:
                continue
            if message_id is None or message.id == message_id:
                return message

    async def request(
        self, message_type: str, header: dict[str, Any], payload: bytes = b"", packet: int = CLIENT_PACKET
    ) -> tuple[dict[str, Any], bytes]:
        """Send a request and wait for its answer.

        Raises:
            RuntimeError: The server refused.
        """
        message_id = self._next_id
        self._next_id += 1
        self.connection.send(message_frames(message_id, message_type, envelope.pack(header, payload), packet))
        answer, data = envelope.unpack((await self.message("__response__", message_id)).data)
        if answer.get("type") == "error":
            raise RuntimeError(f"{message_type}: {answer.get('text')}")
        return answer, data


class RoomDocumentFeed(DocumentFeed):
    """`room.sync` events and answers, without reading their JSON."""

    def __init__(self) -> None:
        self._frames = FrameReader()
        self._messages = Reassembler()

    def feed(self, data: bytes) -> tuple[list[bytes], list[int]]:
        updates, acknowledged = [], []
        for payload in self._frames.feed(data):
            message = self._messages.receive(payload)
            if message is None:
                continue
            if message.type == "room.sync":
                updates.append(base64.b64decode(envelope.split(message.data)[1]))
            elif message.type == "__response__":
                if b'"error"' in message.data:
                    raise RuntimeError(f"an edit was refused: {message.data!r}")
                acknowledged.append(message.id - FIRST_EDIT_ID)
        return updates, acknowledged


class RoomServer(Subject):
    """The real server, over the room protocol."""

    name = SERVER

    async def _session(self, room: str, token: str) -> Session:
        session = Session(await Connection.open(self.port, f"/rooms/{room}?token={token}"))
        await session.message("room_ready")
        return session

    async def join(self, room: str, token: str, *, messaging: bool = False) -> Connection:
        session = await self._session(room, token)
        if messaging:
            await session.request("messaging.enable", {})
        return session.connection

    def broadcasts(self, texts: Sequence[str]) -> list[bytes]:
        bodies = [envelope.pack({"type": "m", "message": {"p": text}}) for text in texts]
        return [message_frames(FIRST_EDIT_ID + n, "messaging.broadcast", body) for n, body in enumerate(bodies)]

    async def join_documents(self, room: str, token: str, paths: Sequence[str]) -> Connection:
        session = await self._session(room, token)
        for path in paths:
            await session.request("room.connect", {"path": path, "create": True})
            await session.message("room.sync")
        return session.connection

    def edits(self, path: str, updates: Sequence[bytes]) -> list[bytes]:
        bodies = [envelope.pack({"path": path}, base64.b64encode(update)) for update in updates]
        return [message_frames(FIRST_EDIT_ID + n, "room.sync", body) for n, body in enumerate(bodies)]

    async def deploy_schema(self, room: str, name: str, schema: bytes) -> None:
        await self.upload_frames(room, f".schemas/{name}.json", schema)

    def document_feed(self) -> DocumentFeed:
        return RoomDocumentFeed()

    async def upload_frames(self, room: str, name: str, data: bytes) -> None:
        session = await self._session(room, self.token(room, "uploader"))
        opened, _ = await session.request("storage.open", {"path": name, "overwrite": True})
        handle = {"handle": opened["json"]["handle"]}
        for start in range(0, len(data), 1 << 20):
            await session.request("storage.write", handle, data[start : start + (1 << 20)], BULK_PACKET)
        await session.request("storage.close", handle)
        session.connection.close()

    async def download_frames(self, room: str, name: str) -> bytes:
        session = await self._session(room, self.token(room, "downloader"))
        _, data = await session.request("storage.download", {"path": name})
        session.connection.close()
        return data

    async def http_upload(self, room: str, name: str) -> tuple[str, str]:
        return "PUT", f"/rooms/{room}/storage/{name}?token={self.token(room, 'uploader')}"

    async def http_download(self, room: str, name: str) -> str:
        session = await self._session(room, self.token(room, "downloader"))
        answer, _ = await session.request("storage.download_url", {"path": name})
        session.connection.close()
        return "/" + str(answer["json"]["url"]).split("/", 3)[3]


# --- the yardstick ------------------------------------------------------------------------------------------------


class YardstickDocumentFeed(DocumentFeed):
    """Frames `path length | path | update`; the yardstick acknowledges nothing."""

    def __init__(self) -> None:
        self._frames = FrameReader()

    def feed(self, data: bytes) -> tuple[list[bytes], list[int]]:
        return [payload[1 + payload[0] :] for payload in self._frames.feed(data)], []


class Yardstick(Subject):
    """The naive aiohttp room."""

    name = YARDSTICK

    async def join(self, room: str, token: str, *, messaging: bool = False) -> Connection:
        return await Connection.open(self.port, f"/rooms/{room}?token={token}")

    def broadcasts(self, texts: Sequence[str]) -> list[bytes]:
        return [client_frame(text.encode()) for text in texts]

    async def join_documents(self, room: str, token: str, paths: Sequence[str]) -> Connection:
        connection = await Connection.open(self.port, f"/documents?token={token}")
        for path in paths:
            connection.send(client_frame(self._prefix(path)))
            await connection.receive()
        return connection

    def edits(self, path: str, updates: Sequence[bytes]) -> list[bytes]:
        return [client_frame(self._prefix(path) + update) for update in updates]

    def document_feed(self) -> DocumentFeed:
        return YardstickDocumentFeed()

    async def upload_frames(self, room: str, name: str, data: bytes) -> None:
        connection = await Connection.open(self.port, f"/transfer/{name}?token={self.token(room, 'uploader')}")
        for start in range(0, len(data), BULK_PACKET):
            connection.send(client_frame(data[start : start + BULK_PACKET]))
        connection.send(client_frame(b""))
        await connection.receive()
        connection.close()

    async def download_frames(self, room: str, name: str) -> bytes:
        connection = await Connection.open(self.port, f"/transfer/{name}?token={self.token(room, 'downloader')}")
        connection.send(client_frame(b"get", 0x1))
        parts = []
        while part := await connection.receive():
            parts.append(part)
        connection.close()
        return b"".join(parts)

    async def http_upload(self, room: str, name: str) -> tuple[str, str]:
        return "PUT", f"/files/{name}"

    async def http_download(self, room: str, name: str) -> str:
        return f"/files/{name}"

    @staticmethod
    def _prefix(path: str) -> bytes:
        return bytes((len(path),)) + path.encode()


# --- starting them ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def start_server(flags: Sequence[str] = ()) -> AsyncIterator[RoomServer]:
    """The real server on a free port; its data folder and its home are empty, and go when the block is left."""
    secret = secrets.token_hex(32)
    with TemporaryDirectory(prefix="bench-server-") as folder:
        environment = {
            "HOME": folder,
            "MESHAGENT_SECRET": secret,
            "MESHAGENT_SERVER_DATA_DIR": f"{folder}/data",
            "MESHAGENT_SERVER_LOG_LEVEL": "warning",
        }
        command = [sys.executable, "-m", "meshagent.cli", "serve", "--host", "127.0.0.1", "--port", "0", *flags]
        async with _listening(command, environment) as (port, pid):
            yield RoomServer(port, pid, secret)


@asynccontextmanager
async def start_yardstick() -> AsyncIterator[Yardstick]:
    """The yardstick on a free port."""
    secret = secrets.token_hex(32)
    with TemporaryDirectory(prefix="bench-yardstick-") as folder:
        script = Path(__file__).with_name("yardstick_room.py")
        async with _listening([sys.executable, str(script), "--secret", secret, "--folder", folder], {}) as (port, pid):
            yield Yardstick(port, pid, secret)


@asynccontextmanager
async def both(options: Options) -> AsyncIterator[list[Subject]]:
    """Server and yardstick, running side by side; the one that is not measured is idle."""
    raise_descriptor_limit()
    async with start_server(options.server_flags) as server, start_yardstick() as yardstick:
        yield [server, yardstick]


@asynccontextmanager
async def _listening(command: Sequence[str], environment: dict[str, str]) -> AsyncIterator[tuple[int, int]]:
    port = 0

    def found(line: str) -> bool:
        nonlocal port
        match = re.search(r"(?:http|ws)s?://[^\s/:]+:(\d+)", line)
        port = int(match[1]) if match else 0
        return bool(port)

    async with child(command, environment) as process:
        await read_until(process, found)
        async with drained(process):
            yield port, process.pid
