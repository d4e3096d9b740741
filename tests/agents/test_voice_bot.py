"""Taking voice calls in a real room; who talks is a stand-in."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from pathlib import Path

import pytest
from pydantic import SecretStr

from meshagent.agents.voice import VoiceBot, VoiceCall
from meshagent.api.errors import UnavailableError
from meshagent.server.config import LivekitSettings
from meshagent.tools import Toolkit, tool
from tests.support.chatting import person, working
from tests.support.server import serve


@tool
def time() -> str:
    """What time it is."""
    return "noon"


async def test_a_call_is_taken_once_and_ends_with_the_agent(tmp_path: Path) -> None:
    calls: list[VoiceCall] = []
    taken, hung_up = asyncio.Event(), asyncio.Event()

    async def talk(call: VoiceCall) -> None:
        calls.append(call)
        taken.set()
        try:
            await asyncio.Event().wait()
        finally:
            hung_up.set()

    bot = VoiceBot(talk=talk, rules=["be brief"], toolkits=[Toolkit("clock", [time])], auto_greet_message="Hello!")
    livekit = LivekitSettings(url="ws://127.0.0.1:7880", api_key="key", api_secret=SecretStr("secret" * 8))
    async with serve(tmp_path / "data", livekit=livekit) as server:
        async with working(server, bot), person(server, "alice") as alice:
            [agent] = alice.room.messaging.remote_participants
            for message in ({}, {"breakout_room": "meeting"}, {"breakout_room": "meeting"}):
                await alice.room.messaging.send_message(to=agent, type="voice_call", message=message)
            await asyncio.wait_for(taken.wait(), 5)
            [call] = calls
            assert (call.connection.url, call.rules, call.greeting) == ("ws://127.0.0.1:7880", ["be brief"], "Hello!")
            assert call.connection.token.count(".") == 2
            assert call.tool_context.beneficiary.get_attribute("name") == "alice"
            assert [toolkit.name for toolkit in call.toolkits] == ["clock"]
        assert hung_up.is_set()
        assert len(calls) == 1


@pytest.mark.skipif(find_spec("livekit") is not None, reason="LiveKit Agents is installed")
def test_without_its_extra_it_says_what_to_install() -> None:
    with pytest.raises(UnavailableError, match="pip install"):
        VoiceBot()
