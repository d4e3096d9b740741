"""Event handlers of documents and their nodes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, TypeVar

__all__ = ["EventEmitter"]

_Handler = TypeVar("_Handler", bound=Callable[..., Any])

logger = logging.getLogger(__name__)


class EventEmitter:
    """Calls handlers by event name; `@emitter.on("inserted")` registers one."""

    def __init__(self) -> None:
        self._handlers: dict[str, list[Callable[..., Any]]] | None = None  # most nodes never have one

    def on(self, event: str) -> Callable[[_Handler], _Handler]:
        """A decorator that registers a function for `event`.

        Raises:
            TypeError: The handler is a coroutine function; documents change synchronously.
        """

        def register(handler: _Handler) -> _Handler:
            if iscoroutinefunction(handler):
                raise TypeError("handlers of document events must not be coroutine functions")
            if self._handlers is None:
                self._handlers = {}
            self._handlers.setdefault(event, []).append(handler)
            return handler

        return register

    def off(self, event: str, handler: Callable[..., Any]) -> None:
        """Remove a handler; nothing happens if it is not registered."""
        handlers = (self._handlers or {}).get(event, [])
        if handler in handlers:
            handlers.remove(handler)

    def emit(self, event: str, *args: Any, **kwargs: Any) -> None:
        """Call the handlers of `event` in order. One that raises is logged and does not stop the others."""
        if self._handlers is None:
            return
        for handler in list(self._handlers.get(event, ())):
            try:
                handler(*args, **kwargs)
            except Exception:
                logger.exception("handler of document event %r failed", event)
