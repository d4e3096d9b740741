"""Voice conversations by LiveKit Agents, with a realtime model that hears and speaks.

Importing this module needs `livekit-agents` with its `openai` plugin; `VoiceBot` does it when it is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

# Optional packages, which a type checker finds only where they are installed.
from livekit import rtc  # type: ignore[import-not-found, unused-ignore]
from livekit.agents import Agent, AgentSession, RunContext, function_tool  # type: ignore[import-not-found, unused-ignore]
from livekit.plugins import openai  # type: ignore[import-not-found, unused-ignore]

from meshagent.agents.llm.offered_tools import OfferedTool, OfferedTools
from meshagent.agents.llm.tool_answers import ToolResponseAdapter
from meshagent.agents.voice_call import VoiceCall
from meshagent.api.errors import RoomException

__all__ = ["talk"]


async def talk(call: VoiceCall) -> None:
    """Join the meeting, greet, and talk until everybody else has left or the meeting ends."""
    meeting = rtc.Room()
    over = asyncio.Event()

    def on_left(*args: Any) -> None:
        if not meeting.remote_participants:
            over.set()

    meeting.on("participant_disconnected", on_left)
    meeting.on("disconnected", lambda *_: over.set())
    session = AgentSession(llm=openai.realtime.RealtimeModel())
    await meeting.connect(call.connection.url, call.connection.token)
    try:
        offered = OfferedTools(call.toolkits)
        instructions = "\n".join([*call.rules, *offered.rules]) or "You are a helpful voice assistant."
        tools = [_voice_tool(call, offered, name) for name in (tool.name for tool in offered.definitions())]
        await session.start(room=meeting, agent=Agent(instructions=instructions, tools=tools))
        if call.greeting is not None:
            await session.generate_reply(instructions=f"Say exactly this: {call.greeting}")
        elif call.greeting_prompt is not None:
            await session.generate_reply(instructions=call.greeting_prompt)
        await over.wait()
    finally:
        await session.aclose()
        await meeting.disconnect()


def _voice_tool(call: VoiceCall, offered: OfferedTools, name: str) -> Any:
    """A tool of the room as LiveKit Agents wants it."""
    found = offered.find(name)
    assert found is not None
    schema = {
        "name": name,
        "description": found.tool.description or found.tool.title,
        "parameters": found.tool.full_schema,
    }
    return function_tool(_executor(call, found), raw_schema=schema)


def _executor(call: VoiceCall, found: OfferedTool) -> Callable[..., Awaitable[str]]:
    async def execute(raw_arguments: dict[str, object], context: RunContext[Any]) -> str:
        try:
            answer = await found.toolkit.execute(
                context=call.tool_context, name=found.tool.name, arguments=raw_arguments
            )
        except RoomException as error:
            return f"error: {error}"
        return ToolResponseAdapter().to_plain_text(answer)

    return execute
