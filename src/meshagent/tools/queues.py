"""`QueueToolkit`: tools for the room's queues."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from meshagent.api.errors import PermissionDeniedError
from meshagent.tools.context import ToolContext
from meshagent.tools.function_tool import function_tools
from meshagent.tools.toolkit import Toolkit

__all__ = ["QueueToolkit"]


class QueueToolkit(Toolkit):
    """Tools for queues: `list_queues`, `send_to_queue`, `receive_from_queue`.

    Args:
        queues: Names of the queues that the tools may use. Default: all.
    """

    def __init__(self, *, queues: Collection[str] | None = None) -> None:
        self._queues = None if queues is None else frozenset(queues)
        super().__init__(
            name="queues",
            title="Queues",
            description="The queues of the room, which pass work to others.",
            tools=function_tools(self._list_queues, self._send_to_queue, self._receive_from_queue),
        )

    def _check(self, queue: str) -> None:
        if self._queues is not None and queue not in self._queues:
            raise PermissionDeniedError(f"this tool has no access to queue {queue!r}")

    async def _list_queues(self, context: ToolContext) -> dict[str, int]:
        """List the queues with the number of messages in each."""
        found = await context.room.queues.list()
        return {queue.name: queue.size for queue in found if self._queues is None or queue.name in self._queues}

    async def _send_to_queue(self, context: ToolContext, queue: str, message: dict[str, Any]) -> str:
        """Append a message to a queue. One receiver will get it.

        Args:
            queue: Name of the queue; created if it does not exist.
            message: The message, such as a description of the work to do.
        """
        self._check(queue)
        await context.room.queues.send(queue, message)
        return f"sent to {queue}"

    async def _receive_from_queue(self, context: ToolContext, queue: str) -> dict[str, Any]:
        """Remove and return the oldest message of a queue. `message` is null if the queue is empty.

        Args:
            queue: Name of the queue.
        """
        self._check(queue)
        return {"message": await context.room.queues.receive(queue, wait=False)}
