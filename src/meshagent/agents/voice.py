"""`VoiceBot`: talks with people in LiveKit meetings (spec chat-protocol 2, `voice_call`).

The conversation itself is led by LiveKit Agents, which the extra `voice` brings; everything around it is here.
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
from meshagent.api.room._tasks import OwnedTasks
from meshagent.api.room.descriptions import Requirement
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
    """Joins the meeting that a participant names in a `voice_call` message, and talks there.

    A second call to the same meeting changes nothing while the first one lasts.

    Args:
        rules: Sentences that the model follows.
        toolkits: What the model may use, besides the toolkits that `requires` names.
        auto_greet_message: What to say first, word for word.
        auto_greet_prompt: What to say first, for the model to put into words.
        talk: Leads the conversation; by default a realtime model of LiveKit Agents.

    Other arguments: as `SingleRoomAgent`.

    Raises:
        UnavailableError: There is no `talk`, and LiveKit Agents is not installed.
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
        """As `SingleRoomAgent.start`; when it returns, the agent is visible and takes calls."""
        await super().start(room=room)
        room.messaging.on("message", self._on_message)
        try:
            await room.messaging.enable()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Hang up everywhere."""
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
            log.info("%s ignores a call that names no meeting, or comes from somebody who is not visible", self.name)
        elif meeting in self._calls:
            log.info("%s is in the meeting %s already", self.name, meeting)
        elif len(self._calls) >= MAX_CALLS:
            log.warning("%s takes no more than %s calls at a time", self.name, MAX_CALLS)
        else:
            task = self._tasks.start(self._take_call(meeting, caller), f"{self.name} in the meeting {meeting}")
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
            "voice needs LiveKit Agents: pip install 'livekit-agents[openai]', or give VoiceBot a `talk` of your own"
        ) from None
    return talk
