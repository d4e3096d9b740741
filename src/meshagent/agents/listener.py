"""`Listener`: an agent that follows one document and reacts to its changes."""

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
from meshagent.api.room._tasks import OwnedTasks
from meshagent.api.room.descriptions import Requirement
from meshagent.api.room.documents import MeshDocument
from meshagent.tools.toolkit import Toolkit

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["Listener", "ListenerContext"]

MAX_CHANGES_BEHIND = 10_000

_PATH_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"path": {"type": "string", "description": "the document to listen to"}},
    "required": ["path"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerContext:
    """One listening.

    Attributes:
        room: The room.
        path: The path of the document.
        document: The document, which may be edited: what the listener changes itself comes back to it, too.
        arguments: What it was asked with; `{"path": …}` for a path of its own.
        call: The ask that began it; None for a path of its own.
    """

    room: RoomClient
    path: str
    document: MeshDocument
    arguments: dict[str, Any] = field(default_factory=dict)
    call: AgentCallContext | None = None


class Listener(TaskRunner):
    """Follows a document and calls a method for each change, one after the other, in order.

    It listens to `path` from its start, and besides to each document that it is asked to
    (`room.agents.ask(agent=name, arguments={"path": …})`); such an ask is answered when a method returns True.
    Override the `on_…` methods; returning True ends the listening.

    Args:
        path: A document to listen to from the start, until the agent stops.
        max_changes_behind: How many changes may wait for a slow method; one more ends the listening with a
            LimitExceededError.

    Other arguments: as `TaskRunner`; an `input_schema` of one's own must have a `path`.
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
        self._own_listening = OwnedTasks()

    async def on_listening_started(self, listener_context: ListenerContext) -> None:
        """The document is open, with the content that it has; changes are reported from now on."""

    async def on_element_inserted(self, listener_context: ListenerContext, element: Element) -> bool | None:
        """Somebody inserted an element. Those below it were reported before."""
        return None

    async def on_element_deleted(self, listener_context: ListenerContext, element: Element) -> bool | None:
        """Somebody deleted an element; it can still be read."""
        return None

    async def on_attribute_changed(
        self, listener_context: ListenerContext, element: Element, attribute: str
    ) -> bool | None:
        """Somebody set or removed an attribute; its value may have changed again since."""
        return None

    async def start(self, *, room: RoomClient) -> None:
        """As `TaskRunner.start`. When it returns, the document at `path` is open and listened to."""
        await super().start(room=room)
        if self.path is None:
            return
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        listening = self._own_listening.start(
            self._listen(room, self.path, {"path": self.path}, None, started), f"{self.name} listening to {self.path}"
        )
        try:
            await asyncio.wait([started, listening], return_when=asyncio.FIRST_COMPLETED)
            if listening.done():
                listening.result()  # it could not open the document
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Listen no more."""
        await self._own_listening.close()
        await super().stop()

    async def ask(self, *, context: AgentCallContext, arguments: dict[str, Any]) -> Any:
        """Listen to the document at `path` until one of the methods returns True."""
        path = arguments.get("path")
        if not isinstance(path, str):
            raise InvalidRequestError("say which document to listen to: `path`")
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
        changes = _Changes(document, self._max_changes_behind)
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


class _Changes:
    """The changes of a document, in order. Document events come from plain calls, so they wait here."""

    def __init__(self, document: MeshDocument, limit: int) -> None:
        self._document = document
        self._limit = limit
        self._waiting: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue(limit)
        self._overflowed = False
        self._handlers = {event: partial(self._add, event) for event in ("inserted", "deleted", "updated")}
        for event, handler in self._handlers.items():
            document.on(event)(handler)

    async def next(self) -> tuple[Any, ...]:
        """The next change; LimitExceededError if some were dropped before it."""
        if self._overflowed and self._waiting.empty():
            raise LimitExceededError(f"the listener is more than {self._limit} changes behind", limit=self._limit)
        return await self._waiting.get()

    def stop(self) -> None:
        for event, handler in self._handlers.items():
            self._document.off(event, handler)

    def _add(self, *change: Any) -> None:
        if self._overflowed:
            return
        try:
            self._waiting.put_nowait(change)
        except asyncio.QueueFull:
            self._overflowed = True
