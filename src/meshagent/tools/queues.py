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
    """Tools for queues: `list_queues`, `send_to_queue`, `receive_from_queue`, and those for leases.

    `lease_from_queue` leaves a message in its queue, hidden, until `finish_message`; `return_message` gives it back,
    and `extend_lease` keeps it for longer. A message whose user is gone comes back by itself.

    Args:
        queues: Names of the queues that the tools may use. Default: all.
    """

    def __init__(self, *, queues: Collection[str] | None = None) -> None:
        self._queues = None if queues is None else frozenset(queues)
        super().__init__(
            name="queues",
            title="Queues",
            description="The queues of the room, which pass work to others.",
            tools=function_tools(
                self._list_queues,
                self._send_to_queue,
                self._receive_from_queue,
                self._lease_from_queue,
                self._finish_message,
                self._return_message,
                self._extend_lease,
            ),
        )

    def _check(self, queue: str) -> None:
        if self._queues is not None and queue not in self._queues:
            raise PermissionDeniedError(f"this tool has no access to queue {queue!r}")

    async def _list_queues(self, context: ToolContext) -> dict[str, int]:
        """List the queues with the number of messages in each."""
        found = await context.room.queues.list()
        return {queue.name: queue.size for queue in found if self._queues is None or queue.name in self._queues}

    async def _send_to_queue(self, context: ToolContext, queue: str, message: dict[str, Any], delay: float = 0) -> str:
        """Append a message to a queue. One receiver will get it.

        Args:
            queue: Name of the queue; created if it does not exist.
            message: The message, such as a description of the work to do.
            delay: Seconds before anybody can receive it.
        """
        self._check(queue)
        await context.room.queues.send(queue, message, delay=delay)
        return f"sent to {queue}"

    async def _receive_from_queue(self, context: ToolContext, queue: str) -> dict[str, Any]:
        """Remove and return the oldest message of a queue. `message` is null if the queue is empty.

        Args:
            queue: Name of the queue.
        """
        self._check(queue)
        return {"message": await context.room.queues.receive(queue, wait=False)}

    async def _lease_from_queue(self, context: ToolContext, queue: str, seconds: float = 300) -> dict[str, Any]:
        """Take the oldest message of a queue for some time. Call finish_message when its work is done.

        Unless it is finished in time, somebody else gets it. `message` is null if the queue is empty; `attempts`
        counts how often it was taken, with this time.

        Args:
            queue: Name of the queue.
            seconds: How long the message is yours.
        """
        self._check(queue)
        leased = await context.room.queues.receive(queue, wait=False, lease=seconds)
        if leased is None:
            return {"message": None}
        return {"message": leased.message, "lease": leased.lease, "attempts": leased.attempts}

    async def _finish_message(self, context: ToolContext, queue: str, lease: str) -> str:
        """Remove a message that was taken with lease_from_queue: its work is done.

        Args:
            queue: Name of the queue.
            lease: The lease that came with the message.
        """
        self._check(queue)
        await context.room.queues.ack(queue, lease)
        return "finished"

    async def _return_message(self, context: ToolContext, queue: str, lease: str, delay: float = 0) -> str:
        """Return a message that was taken with lease_from_queue: somebody else shall do its work.

        Args:
            queue: Name of the queue.
            lease: The lease that came with the message.
            delay: Seconds before anybody can take it again.
        """
        self._check(queue)
        await context.room.queues.release(queue, lease, delay=delay)
        return "returned"

    async def _extend_lease(self, context: ToolContext, queue: str, lease: str, seconds: float) -> str:
        """Keep a message that was taken with lease_from_queue for longer.

        Args:
            queue: Name of the queue.
            lease: The lease that came with the message.
            seconds: How long the message is yours from now.
        """
        self._check(queue)
        await context.room.queues.extend(queue, lease, seconds)
        return "extended"
