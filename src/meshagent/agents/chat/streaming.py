"""Writing an answer into a thread while the model still speaks (spec chat-protocol 4, step 6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from meshagent.agents.llm.events import LLMEvent, TextDelta, TextFinished, TextStarted
from meshagent.api.documents.nodes import Element

__all__ = ["StreamedAnswer"]


class StreamedAnswer:
    """Takes a model's events, and keeps the thread up to date with what it says.

    Each piece of text is a message of its own, set to the growing whole at most once per `interval`, so that a long
    answer does not fill the document's log with its own beginnings.

    Args:
        begin: Makes an empty message in the thread.
        interval: Seconds between two updates.
    """

    def __init__(self, begin: Callable[[], Element], *, interval: float) -> None:
        self._begin = begin
        self._interval = interval
        self._element: Element | None = None
        self._text = ""
        self._written = ""
        self._timer: asyncio.TimerHandle | None = None
        self._unfinished = ""

    @property
    def unfinished_text(self) -> str:
        """What was said of a piece that the model did not finish; known after `end`."""
        return self._unfinished

    def on_event(self, event: LLMEvent) -> None:
        """Follow the model."""
        match event:
            case TextStarted():
                self._finish()
                self._element = self._begin()
            case TextDelta(text=text):
                if self._element is None:
                    self._element = self._begin()
                self._text = text
                if self._timer is None:
                    self._write()
                    self._timer = asyncio.get_running_loop().call_later(self._interval, self._on_timer)
            case TextFinished(text=text):
                if self._element is None and text:
                    self._element = self._begin()
                self._text = text
                self._finish()

    def end(self) -> None:
        """The model stopped, perhaps in the middle: what it said stays; a message that says nothing goes."""
        self._unfinished = self._text
        self._finish()

    def _finish(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._element is not None:
            if self._text:
                self._write()
            else:
                self._element.delete()
        self._element = None
        self._text = self._written = ""

    def _on_timer(self) -> None:
        self._timer = None
        if self._text != self._written:
            self._write()
            self._timer = asyncio.get_running_loop().call_later(self._interval, self._on_timer)

    def _write(self) -> None:
        if self._element is not None and self._text != self._written:
            self._element.set_attribute("text", self._text)
            self._written = self._text
