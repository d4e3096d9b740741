"""`Listener`: an agent that reacts to changes of documents."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from meshagent.agents.context import AgentCallContext
from meshagent.agents.task_runner import TaskRunner
from meshagent.api.documents.nodes import Element
from meshagent.api.errors import InvalidRequestError, LimitExceededError
from meshagent.api.room.descriptions import Requirement
from meshagent.api.room.documents import MeshDocument
from meshagent.api.room.tasks import OwnedTasks
from meshagent.tools.toolkit import Toolkit

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["Listener", "ListenerContext"]

MAX_CHANGES_BEHIND = 10_000

_PATH_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"path": {"type": "string", "description": "path of the document to listen to"}},
    "required": ["path"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerContext:
    """The document that a listener method is called for.

    Attributes:
        room: The room.
        path: The path of the document.
        document: The open document. The listener may edit it, and is notified of its own edits as well.
        arguments: The arguments of the request; `{"path": …}` for the listener's own `path`.
        call: The request that started it; None for the listener's own `path`.
    """

    room: RoomClient
    path: str
    document: MeshDocument
    arguments: dict[str, Any] = field(default_factory=dict)
    call: AgentCallContext | None = None


class Listener(TaskRunner):
    """Calls a method for each change of a document, one at a time and in order.

    Override the `on_…` methods. The agent listens to `path` from its start, and to each document that it is asked to
    follow with `room.agents.ask(agent=name, arguments={"path": …})`. A method that returns True ends the listening;
    the request, if there is one, is answered then.

    Args:
        path: A document to listen to from start to stop.
        max_changes_behind: How many changes may queue up behind a slow method. One more ends the listening with
            LimitExceededError.

    Other arguments: as `TaskRunner`. A custom `input_schema` must have a `path`.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        input_schema: Mapping[str, Any] | None = None,
        requires: Sequence[Requirement] = (),
        labels: Sequence[str] = (),
        toolkits: Sequence[Toolkit] = (),
        max_changes_behind: int = MAX_CHANGES_BEHIND,
    ) -> None:
        super().__init__(
            name=name,
            title=title,
            description=description,
            input_schema=_PATH_SCHEMA if input_schema is None else input_schema,
            requires=requires,
            labels=labels,
            toolkits=toolkits,
        )
        self.path = path
        self._max_changes_behind = max_changes_behind
        self._path_listener = OwnedTasks()

    async def on_listening_started(self, listener_context: ListenerContext) -> None:
        """The document is open and its current content readable; later changes are reported by the other methods."""

    async def on_element_inserted(self, listener_context: ListenerContext, element: Element) -> bool | None:
        """An element was inserted. Its children were reported before it."""
        return None

    async def on_element_deleted(self, listener_context: ListenerContext, element: Element) -> bool | None:
        """An element was deleted; it can still be read."""
        return None

    async def on_attribute_changed(
        self, listener_context: ListenerContext, element: Element, attribute: str
    ) -> bool | None:
        """An attribute was set or removed; its value may have changed again since."""
        return None

    async def start(self, *, room: RoomClient) -> None:
        """As `TaskRunner.start`. On return the document at `path` is open, and its changes are reported."""
        await super().start(room=room)
        if self.path is None:
            return
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        listening = self._path_listener.start(
            self._listen(room, self.path, {"path": self.path}, None, started), f"{self.name} listening to {self.path}"
        )
        try:
            await asyncio.wait([started, listening], return_when=asyncio.FIRST_COMPLETED)
            if listening.done():
                listening.result()  # raises if the document could not be opened
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop listening."""
        await self._path_listener.close()
        await super().stop()

    async def ask(self, *, context: AgentCallContext, arguments: dict[str, Any]) -> Any:
        """Listen to the document at `path` until one of the methods returns True."""
        path = arguments.get("path")
        if not isinstance(path, str):
            raise InvalidRequestError("`path` is required: the document to listen to")
        await self._listen(context.room, path, arguments, context, None)
        return {}

    async def _listen(
        self,
        room: RoomClient,
        path: str,
        arguments: dict[str, Any],
        call: AgentCallContext | None,
        started: asyncio.Future[None] | None,
    ) -> None:
        document = await room.sync.open(path)
        context = ListenerContext(room=room, path=path, document=document, arguments=arguments, call=call)
        changes = _ChangeQueue(document, self._max_changes_behind)
        try:
            await self.on_listening_started(context)
            if started is not None:
                started.set_result(None)
            while not await self._handle(context, await changes.next()):
                pass
        finally:
            changes.stop()
            await room.sync.close(path)

    async def _handle(self, context: ListenerContext, change: tuple[Any, ...]) -> bool:
        handlers: dict[str, Callable[..., Awaitable[bool | None]]] = {
            "inserted": self.on_element_inserted,
            "deleted": self.on_element_deleted,
            "updated": self.on_attribute_changed,
        }
        event, element, *rest = change
        return isinstance(element, Element) and bool(await handlers[event](context, element, *rest))


class _ChangeQueue:
    """Queues a document's changes in order: events arrive in plain callbacks, which cannot wait for a method."""

    def __init__(self, document: MeshDocument, limit: int) -> None:
        self._document = document
        self._limit = limit
        self._queue: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue(limit)
        self._overflowed = False
        self._handlers = {event: partial(self._add, event) for event in ("inserted", "deleted", "updated")}
        for event, handler in self._handlers.items():
            document.on(event)(handler)

    async def next(self) -> tuple[Any, ...]:
        """Return the next change; LimitExceededError once changes have been dropped."""
        if self._overflowed and self._queue.empty():
            raise LimitExceededError(f"the listener is more than {self._limit} changes behind", limit=self._limit)
        return await self._queue.get()

    def stop(self) -> None:
        for event, handler in self._handlers.items():
            self._document.off(event, handler)

    def _add(self, *change: Any) -> None:
        if self._overflowed:
            return
        try:
            self._queue.put_nowait(change)
        except asyncio.QueueFull:
            self._overflowed = True
