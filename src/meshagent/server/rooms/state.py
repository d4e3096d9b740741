"""The state of one run of a room that its services share: who is in it, message numbers, background tasks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any

from meshagent.api.contracts.operation import Event
from meshagent.server.kernel.byte_budget import ByteBudget
from meshagent.server.kernel.context import DataT, PendingDelivery
from meshagent.server.kernel.participant import Participant
from meshagent.server.kernel.room_key import RoomKey
from meshagent.server.kernel.room_log import RoomLog
from meshagent.server.websocket.encoding import encode_event

log = logging.getLogger(__name__)


class RoomState:
    """Implements `RoomContext`; made before the services, which are made before the room.

    Args:
        key: Which room.
        storage_name: What its data is kept under.
        url: Its WebSocket URL.
        session_id: Names this run.
        room_log: Its log.
        presence: Bytes of attributes and registrations of all participants; None for no bound.
        waiting: Bytes of what waits for all participants together; None for no bound.
    """

    def __init__(
        self,
        key: RoomKey,
        *,
        storage_name: str,
        url: str,
        session_id: str,
        room_log: RoomLog,
        presence: ByteBudget | None = None,
        waiting: ByteBudget | None = None,
    ) -> None:
        self.key = key
        self.name = key.room_name
        self.project_id = key.project_id
        self.storage_name = storage_name
        self.url = url
        self.session_id = session_id
        self.presence = presence or ByteBudget()
        self.waiting = waiting or ByteBudget()
        self._log = room_log
        self._participants: dict[str, Participant] = {}
        self._users = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_message_id = 0

    # --- what services see (RoomContext) -------------------------------------------------------------

    @property
    def participants(self) -> Mapping[str, Participant]:
        return self._participants

    def publish(
        self,
        event: Event[DataT],
        data: DataT,
        payload: bytes = b"",
        *,
        to: Iterable[Participant] | None = None,
    ) -> int:
        self._last_message_id += 1
        frames = encode_event(self._last_message_id, event.name, data, payload)
        for participant in list(self._participants.values()) if to is None else to:
            participant.outbox.deliver(frames)
        return self._last_message_id

    def reply(self, event: Event[DataT], data: DataT, *, to: Participant) -> None:
        self._last_message_id += 1
        to.outbox.reply(encode_event(self._last_message_id, event.name, data))

    def offer(
        self, event: Event[DataT], data: DataT, payload: bytes, *, to: Sequence[Participant]
    ) -> Sequence[PendingDelivery]:
        self._last_message_id += 1
        frames = encode_event(self._last_message_id, event.name, data, payload)
        return [(one, waiter) for one in to if (waiter := one.outbox.offer(frames)) is not None]

    def record(self, entry_type: str, data: Mapping[str, Any]) -> None:
        self._log.record(entry_type, data)

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=f"room {self.name}: {name}")
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    # --- what the room changes -----------------------------------------------------------------------

    @property
    def users(self) -> int:
        """How many people are here."""
        return self._users

    def add(self, participant: Participant) -> None:
        """Somebody has come."""
        self._participants[participant.id] = participant
        self._users += participant.is_user

    def remove(self, participant: Participant) -> bool:
        """Remove a participant; False if it was not in the room."""
        if self._participants.pop(participant.id, None) is None:
            return False
        self._users -= participant.is_user
        return True

    def take_message_ids(self, count: int) -> int:
        """Numbers for `count` messages in a row; returns the last."""
        self._last_message_id += count
        return self._last_message_id

    def record_failure(self, participant: Participant, message_type: str, error: BaseException) -> None:
        """Write into the log that the server failed at a request."""
        self.record("room.error", {"request": message_type, "error": type(error).__name__, **who(participant)})

    async def stop_tasks(self) -> None:
        """Cancel all background tasks and wait for their end."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s failed", task.get_name(), exc_info=error)


def who(participant: Participant) -> dict[str, Any]:
    """A participant as entries of the log name it."""
    return {"participant_id": participant.id, "name": participant.name, "role": participant.role}
