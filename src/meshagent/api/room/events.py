"""Events of a room client and its sub-clients, and their handlers."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["EventHandler", "EventSource"]

log = logging.getLogger(__name__)

EventHandler = Callable[..., Any]
"""Called with those of the event's values that it takes, by keyword; may be a coroutine function."""


class EventSource:
    """Calls the handlers of named events.

    Handlers are called in the order in which they were added. An exception is logged, and the next handler is called. A
    coroutine function runs as a task that ends with the room; tasks start in the order of the events, and may
    make requests.

    Args:
        spawn: Runs a coroutine as a task of that name.
    """

    def __init__(self, spawn: Callable[[Awaitable[Any], str], object]) -> None:
        self._spawn = spawn
        self._listeners: dict[str, list[tuple[EventHandler, _Call]]] = {}

    def on(self, event_name: str, func: EventHandler) -> None:
        """Call `func` whenever the event happens."""
        self._listeners.setdefault(event_name, []).append((func, _Call(func)))

    def off(self, event_name: str, func: EventHandler) -> None:
        """Undo `on`; does nothing if the handler is not registered."""
        handlers = self._listeners.get(event_name, [])
        for entry in handlers:
            if entry[0] == func:
                self._listeners[event_name] = [other for other in handlers if other is not entry]
                return

    def emit(self, event_name: str, /, **values: Any) -> None:
        """Call the handlers of an event with `values`."""
        for func, call in self._listeners.get(event_name, ()):
            try:
                result = call(values)
            except Exception:
                log.exception("handler %r of event %r failed", func, event_name)
                continue
            if inspect.isawaitable(result):
                self._spawn(result, f"handler of {event_name}")


class _Call:
    """Calls one handler with those values that its signature takes.

    A handler may leave out values that it has no use for; one with a single parameter of its own naming gets
    the first value.
    """

    __slots__ = ("_func", "_names", "_positional")

    def __init__(self, func: EventHandler) -> None:
        self._func = func
        self._names: frozenset[str] | None = None  # None: any
        self._positional = False
        try:
            parameters = inspect.signature(func).parameters.values()
        except (TypeError, ValueError):
            return  # a callable without a readable signature gets everything
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        self._names = frozenset(parameter.name for parameter in parameters if parameter.kind in kinds)
        required = [
            parameter
            for parameter in parameters
            if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL
        ]
        self._positional = len(required) == 1 and required[0].kind is not inspect.Parameter.KEYWORD_ONLY

    def __call__(self, values: dict[str, Any]) -> Any:
        names = self._names
        if names is None:
            return self._func(**values)
        taken = {name: value for name, value in values.items() if name in names}
        if self._positional and not taken and values:
            return self._func(next(iter(values.values())))
        return self._func(**taken)
