"""`VoiceBot`: joins LiveKit meetings and talks to users (protocol 17.2, `voice_call`).

LiveKit Agents, installed by the extra `voice`, runs the conversation itself; this module handles the calls.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from meshagent.agents.agent import SingleRoomAgent
from meshagent.agents.chat.toolkits import room_toolkits
from meshagent.agents.voice_call import TalkInVoice, VoiceCall
from meshagent.api.errors import UnavailableError
from meshagent.api.room.descriptions import Requirement
from meshagent.api.room.tasks import OwnedTasks
from meshagent.tools.context import ToolContext
from meshagent.tools.toolkit import Toolkit

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient
    from meshagent.api.room.messaging import RoomMessage
    from meshagent.api.room.participants import RemoteParticipant

__all__ = ["TalkInVoice", "VoiceBot", "VoiceCall"]

log = logging.getLogger(__name__)

VOICE_CALL: Final = "voice_call"
MAX_CALLS: Final = 100


class VoiceBot(SingleRoomAgent):
    """Joins the meeting named in a `voice_call` message from a participant, and talks there.

    While the bot is in a meeting, further calls to the same meeting are ignored.

    Args:
        rules: Instructions for the model.
        toolkits: Toolkits the model may use, besides those named in `requires`.
        auto_greet_message: What to say first, verbatim.
        auto_greet_prompt: An instruction for the model to greet by, instead of `auto_greet_message`.
        talk: Runs the conversation. Default: a realtime model through LiveKit Agents.

    Other arguments: as `SingleRoomAgent`.

    Raises:
        UnavailableError: LiveKit Agents is not installed, and no `talk` was given.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        requires: Sequence[Requirement] = (),
        labels: Sequence[str] = (),
        rules: Sequence[str] = (),
        toolkits: Sequence[Toolkit] = (),
        auto_greet_message: str | None = None,
        auto_greet_prompt: str | None = None,
        talk: TalkInVoice | None = None,
    ) -> None:
        super().__init__(name=name, title=title, description=description, requires=requires, labels=labels)
        self.rules = list(rules)
        self.toolkits = list(toolkits)
        self.auto_greet_message = auto_greet_message
        self.auto_greet_prompt = auto_greet_prompt
        self._talk = _livekit_talk() if talk is None else talk
        self._tasks = OwnedTasks()
        self._calls: dict[str, asyncio.Task[None]] = {}

    async def start(self, *, room: RoomClient) -> None:
        """As `SingleRoomAgent.start`. On return the agent is visible and takes calls."""
        await super().start(room=room)
        room.messaging.on("message", self._on_message)
        try:
            await room.messaging.enable()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Hang up all calls."""
        if self._room is not None:
            self._room.messaging.off("message", self._on_message)
        try:
            await self._tasks.close()
        finally:
            await super().stop()

    def _on_message(self, message: RoomMessage) -> None:
        if message.type != VOICE_CALL:
            return
        meeting = message.message.get("breakout_room") if isinstance(message.message, dict) else None
        caller = next((p for p in self.room.messaging.remote_participants if p.id == message.from_participant_id), None)
        if not isinstance(meeting, str) or caller is None:
            log.info("%s ignores a call without a meeting, or from a participant that is not visible", self.name)
        elif meeting in self._calls:
            log.info("%s is already in meeting %s", self.name, meeting)
        elif len(self._calls) >= MAX_CALLS:
            log.warning("%s rejects a call: limit of %s concurrent calls reached", self.name, MAX_CALLS)
        else:
            task = self._tasks.start(self._take_call(meeting, caller), f"{self.name} in meeting {meeting}")
            self._calls[meeting] = task
            task.add_done_callback(lambda _: self._calls.pop(meeting, None))

    async def _take_call(self, meeting: str, caller: RemoteParticipant) -> None:
        room = self.room
        call = VoiceCall(
            connection=await room.livekit.get_connection_info(breakout_room=meeting),
            rules=self.rules,
            toolkits=[*self.toolkits, *await room_toolkits(room, self.requires, (), caller.id)],
            tool_context=ToolContext(room=room, caller=room.local_participant, on_behalf_of=caller),
            greeting=self.auto_greet_message,
            greeting_prompt=self.auto_greet_prompt,
        )
        await self._talk(call)


def _livekit_talk() -> TalkInVoice:
    try:
        from meshagent.agents.livekit_voice import talk
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "livekit":
            raise
        raise UnavailableError(
            "voice requires LiveKit Agents: pip install 'livekit-agents[openai]', or pass your own `talk` to VoiceBot"
        ) from None
    return talk
