"""The demo room: a person enters, and the bot answers, with no account and no key."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from meshagent.api import RoomClient, WebSocketClientProtocol
from meshagent.cli.demo_bot import demo_bot
from tests.support.server import serve


@pytest.mark.timeout(180)
async def test_the_demo_bot_answers_a_person(tmp_path: Path) -> None:
    async with serve(tmp_path) as server, demo_bot(server.started):
        protocol = WebSocketClientProtocol(url=server.room_url("demo"), token=server.token("ann", room="demo"))
        async with RoomClient(protocol=protocol) as room, asyncio.timeout(120):
            bot_came = asyncio.Event()
            room.messaging.on("participant_added", lambda participant: bot_came.set())
            await room.messaging.enable()
            if not list(room.messaging.get_participants()):
                await bot_came.wait()
            (bot,) = room.messaging.get_participants()
            thread = await room.sync.open(path=".threads/demo.thread")
            children: list[Any] = thread.root.get_children()
            members, messages = children
            for name in ("ann", bot.get_attribute("name")):
                members.append_child("member", {"name": name})
            answered: asyncio.Future[str] = asyncio.get_running_loop().create_future()

            text = "is anybody here?"

            def look(*_: Any) -> None:
                for message in messages.get_children():
                    if message["author_name"] != "ann" and text in (message["text"] or "") and not answered.done():
                        answered.set_result(message["text"])

            thread.on("inserted")(look)
            thread.on("updated")(look)
            message = {"id": "1", "text": text, "created_at": "2026-01-01T00:00:00Z", "author_name": "ann"}
            messages.append_child("message", message)
            await room.messaging.send_message(
                to=bot, type="chat", message={"path": ".threads/demo.thread", "text": text}
            )
            assert text in await answered
