"""`StreamedAnswer`: streams a model's text into a thread (protocol 17.4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from meshagent.api.documents.nodes import Element
from meshagent.llm.events import LLMEvent, TextDelta, TextFinished, TextStarted

__all__ = ["StreamedAnswer"]


class StreamedAnswer:
    """Handles a model's events by updating messages in the thread.

    Each piece of text becomes one message. Its text is replaced at most once per `interval`: every replacement stores
    the whole text so far, so more frequent updates would bloat the document's log.

    Args:
        create_message: Creates an empty message in the thread.
        interval: Seconds between two updates.
    """

    def __init__(self, create_message: Callable[[], Element], *, interval: float) -> None:
        self._create_message = create_message
        self._interval = interval
        self._element: Element | None = None
        self._text = ""
        self._written = ""
        self._timer: asyncio.TimerHandle | None = None
        self._unfinished = ""

    @property
    def unfinished_text(self) -> str:
        """The text of a piece that the model did not finish; available after `end`."""
        return self._unfinished

    def on_event(self, event: LLMEvent) -> None:
        """Handle one event of the model."""
        match event:
            case TextStarted():
                self._finish()
                self._element = self._create_message()
            case TextDelta(text=text):
                if self._element is None:
                    self._element = self._create_message()
                self._text = text
                if self._timer is None:
                    self._write()
                    self._timer = asyncio.get_running_loop().call_later(self._interval, self._on_timer)
            case TextFinished(text=text):
                if self._element is None and text:
                    self._element = self._create_message()
                self._text = text
                self._finish()

    def end(self) -> None:
        """Finish, possibly in the middle of a piece: text so far is kept, an empty message is deleted."""
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
