"""A mail server that keeps what it is given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class MailServer:
    """An SMTP server on the loopback interface, without TLS or logins.

    Attributes:
        port: Where it listens.
        received: Raw mails.
        refuse: How many mails it still refuses.
    """

    port: int = 0
    received: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    refuse: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        while line := await reader.readline():
            command = line.split()[0].upper() if line.split() else b""
            if command == b"DATA":
                writer.write(b"354 go on\r\n")
                raw = await reader.readuntil(b"\r\n.\r\n")
                self.received.put_nowait(raw.removesuffix(b".\r\n"))
            if command == b"MAIL" and self.refuse:
                self.refuse -= 1
                writer.write(b"451 not now\r\n")
            elif command == b"QUIT":
                writer.write(b"221 bye\r\n")
                break
            else:
                writer.write(b"250 ok\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def mail_server() -> AsyncIterator[MailServer]:
    """A mail server for the length of the block."""
    mails = MailServer()
    server = await asyncio.start_server(mails.serve, "127.0.0.1", 0)
    async with server:
        mails.port = server.sockets[0].getsockname()[1]
        yield mails
