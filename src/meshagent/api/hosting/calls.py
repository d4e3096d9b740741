"""One call of a hosted service: join the room, work there, leave (protocol 15.6)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from meshagent.api.hosting.paths import ServicePath
from meshagent.api.webhook.events import CallEvent

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["RunningCalls", "join"]

log = logging.getLogger(__name__)

DISMISS = "dismiss"


def join(event: CallEvent) -> RoomClient:
    """A client for the room that a call came from. It does not reconnect: a room that starts again calls its services
    again, and would get them twice."""
    from meshagent.api.room.client import RoomClient
    from meshagent.api.transport.websocket import WebSocketClientProtocol

    protocol = WebSocketClientProtocol(url=event.room_url, token=event.token)
    return RoomClient(protocol=protocol, auto_reconnect=False)


class RunningCalls:
    """The running calls of a service host."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, service: ServicePath, event: CallEvent) -> None:
        """Serve a call in the background; a failure is logged."""
        name = f"{service.path} in room {event.room_name}"
        task = asyncio.get_running_loop().create_task(_serve(service, event), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def stop(self, grace: float) -> None:
        """Cancel all calls. Services get `grace` seconds to stop and leave, then they are cancelled again."""
        tasks = list(self._tasks)
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        _, late = await asyncio.wait(tasks, timeout=grace)
        for task in late:
            log.warning("%s did not stop within %s seconds", task.get_name(), grace)
            task.cancel()
        if late:
            await asyncio.wait(late)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("call of %s failed", task.get_name(), exc_info=error)


async def _serve(service: ServicePath, event: CallEvent) -> None:
    dismissed = asyncio.Event()

    def on_message(message: object) -> None:
        if getattr(message, "type", None) == DISMISS:
            dismissed.set()

    room = join(event)
    room.messaging.on("message", on_message)
    async with room:
        log.info("%s joined room %s", service.path, event.room_name)
        agent = service.cls()
        await agent.start(room=room)
        try:
            await _first_completed(dismissed.wait(), room.wait_for_close())
        finally:
            await agent.stop()
    log.info("%s left room %s", service.path, event.room_name)


async def _first_completed(*waits: Coroutine[Any, Any, object]) -> None:
    """Return when one of the coroutines is done, and cancel the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
