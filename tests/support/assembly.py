"""A server that is put together and does not listen, and a participant without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from meshagent.api.errors import RoomException
from meshagent.api.tokens.scope import FULL_ROOM_SCOPE, ApiScope
from meshagent.api.wire import envelope
from meshagent.api.wire.packets import Message
from meshagent.server.addresses import Addresses
from meshagent.server.assembly import ServerBase, assembled, open_stores, request_rates
from meshagent.server.identity import load_identity
from meshagent.server.kernel.loop_watch import LoopWatch
from meshagent.server.kernel.participant import Outbox, Participant
from meshagent.server.kernel.room_key import RoomKey
from meshagent.server.rooms.room import Room
from meshagent.server.rooms.services import RoomServices
from meshagent.server.stores.health import HealthMonitor
from tests.support.server import PROJECT_ID, server_config


class Asker(Outbox):
    """A connection without a socket: keeps what it is answered."""

    def __init__(self, scope: ApiScope = FULL_ROOM_SCOPE) -> None:
        self.participant = Participant(participant_id="asker", name="asker", role="agent", scope=scope, outbox=self)
        self.answers: list[Any] = []

    def ask(self, room: Room, message_type: str, header: object, payload: bytes = b"") -> Any:
        """What the room answers at once, an error included; the answer to a request that waits is its awaitable."""
        self.answers.clear()
        room.dispatcher.dispatch(self, Message(1, message_type, envelope.pack(header, payload)))
        [answer] = self.answers
        return answer

    def answer(self, message_id: int, result: object) -> None:
        self.answers.append(result)

    def fail(self, message_id: int, error: RoomException) -> None:
        self.answers.append(error)

    def answer_when_done(self, message_id: int, result: Any, size: int) -> None:
        self.answers.append(result)
        if asyncio.iscoroutine(result):
            result.close()

    def deliver(self, frames: bytes) -> None:
        """Events are not looked at."""

    async def sent(self) -> bool:
        return True

    def disconnect(self, code: int, reason: str) -> None:
        raise AssertionError(f"disconnected: {code} {reason}")


@dataclass(frozen=True, slots=True)
class AssembledServer:
    """The HTTP application, and a room that runs, with its services."""

    application: web.Application
    room: Room
    services: RoomServices


@asynccontextmanager
async def assembled_server(data_dir: Path) -> AsyncIterator[AssembledServer]:
    """A server with its data in `data_dir`, for the length of the block."""
    config = server_config(data_dir)
    health = HealthMonitor()
    async with open_stores(config, health) as stores:
        base = ServerBase(
            config=config,
            identity=load_identity(config),
            stores=stores,
            health=health,
            rates=request_rates(config.limits),
            addresses=Addresses(config, config.port),
            loop_watch=LoopWatch(),
        )
        async with assembled(base) as parts, parts.rooms.locator.open(RoomKey(PROJECT_ID, "room")):
            [room] = parts.rooms.directory.rooms
            yield AssembledServer(parts.application, room.room, room.services)
