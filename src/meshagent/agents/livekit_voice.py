"""Voice conversations through LiveKit Agents and a realtime speech model.

Importing this module requires `livekit-agents` with its `openai` plugin, so `VoiceBot` imports it only when needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

# Optional packages: type checkers find them only where they are installed.
from livekit import rtc  # type: ignore[import-not-found, unused-ignore]
from livekit.agents import Agent, AgentSession, RunContext, function_tool  # type: ignore[import-not-found, unused-ignore]
from livekit.plugins import openai  # type: ignore[import-not-found, unused-ignore]

from meshagent.agents.llm.tool_catalog import CatalogEntry, ToolCatalog
from meshagent.agents.llm.tool_responses import ToolResponseAdapter
from meshagent.agents.voice_call import VoiceCall
from meshagent.api.errors import RoomException

__all__ = ["talk"]


async def talk(call: VoiceCall) -> None:
    """Join the meeting, greet, and converse until everyone else has left or the meeting ends."""
    meeting = rtc.Room()
    ended = asyncio.Event()

    def on_participant_left(*args: Any) -> None:
        if not meeting.remote_participants:
            ended.set()

    meeting.on("participant_disconnected", on_participant_left)
    meeting.on("disconnected", lambda *_: ended.set())
    session = AgentSession(llm=openai.realtime.RealtimeModel())
    await meeting.connect(call.connection.url, call.connection.token)
    try:
        catalog = ToolCatalog(call.toolkits)
        instructions = "\n".join([*call.rules, *catalog.rules]) or "You are a helpful voice assistant."
        tools = [_voice_tool(call, catalog, definition.name) for definition in catalog.definitions()]
        await session.start(room=meeting, agent=Agent(instructions=instructions, tools=tools))
        if call.greeting is not None:
            await session.generate_reply(instructions=f"Say exactly this: {call.greeting}")
        elif call.greeting_prompt is not None:
            await session.generate_reply(instructions=call.greeting_prompt)
        await ended.wait()
    finally:
        await session.aclose()
        await meeting.disconnect()


def _voice_tool(call: VoiceCall, catalog: ToolCatalog, name: str) -> Any:
    """Wrap a room tool as a LiveKit Agents function tool."""
    entry = catalog.find(name)
    assert entry is not None
    schema = {
        "name": name,
        "description": entry.tool.description or entry.tool.title,
        "parameters": entry.tool.full_schema,
    }
    return function_tool(_executor(call, entry), raw_schema=schema)


def _executor(call: VoiceCall, entry: CatalogEntry) -> Callable[..., Awaitable[str]]:
    async def execute(raw_arguments: dict[str, object], context: RunContext[Any]) -> str:
        try:
            answer = await entry.toolkit.execute(
                context=call.tool_context, name=entry.tool.name, arguments=raw_arguments
            )
        except RoomException as error:
            return f"error: {error}"
        return ToolResponseAdapter().to_plain_text(answer)

    return execute
