"""A model that follows a script: for tests without a key or a network, and for a first conversation."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from meshagent.agents.llm.events import TextDelta, TextFinished, TextStarted
from meshagent.agents.llm.model import Emit, ModelReply, ModelRequest, ModelSession, ToolCall, Usage
from meshagent.agents.llm.simplest_value import simplest_value
from meshagent.agents.llm.tool_loop import ToolLoopAdapter
from meshagent.api.errors import InvalidStateError, RoomException, UnavailableError

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["Fail", "Reply", "ScriptedAdapter", "ScriptedModel", "call", "echo", "say"]


@dataclass(frozen=True, slots=True)
class Reply:
    """The model says something, or calls tools, or first the one and then the other."""

    text: str = ""
    calls: Sequence[tuple[str, Mapping[str, Any]]] = ()

    def chunks(self) -> Iterator[str]:
        """The text in the pieces in which it streams: words with the space after them."""
        return (match[0] for match in re.finditer(r"\S*\s*", self.text) if match[0])


@dataclass(frozen=True, slots=True)
class Fail:
    """The model refuses or breaks; `status` is the HTTP status that a provider would answer."""

    message: str
    status: int = 500
    error: RoomException | None = None

    def exception(self) -> RoomException:
        """What a caller in this process gets."""
        return self.error if self.error is not None else UnavailableError(self.message)


Step: TypeAlias = Reply | Fail
Script: TypeAlias = "Sequence[Step] | Callable[[ModelRequest], Step | Awaitable[Step]]"
"""What the model does: its replies in order; or a function of the request, which may be a coroutine function."""


def say(text: str, *calls: tuple[str, Mapping[str, Any]]) -> Reply:
    """Say something, and then make `calls`."""
    return Reply(text, calls)


def call(tool: str, /, **arguments: Any) -> Reply:
    """Call a tool."""
    return Reply("", [(tool, arguments)])


@dataclass(slots=True)
class ScriptedModel(ModelSession):
    """A model that does what a script says.

    Attributes:
        requests: What it was asked so far, oldest first, the latest `keep_requests` of them.
    """

    script: Script
    delay: float = 0.0
    keep_requests: int = 1000
    requests: list[ModelRequest] = field(default_factory=list)
    _position: int = 0

    async def step(self, request: ModelRequest) -> Step:
        """What the script says to a request.

        Raises:
            InvalidStateError: The script is over.
        """
        self.requests.append(request)
        del self.requests[: -self.keep_requests or len(self.requests)]
        if callable(self.script):
            chosen = self.script(request)
            return chosen if isinstance(chosen, (Reply, Fail)) else await chosen
        if self._position >= len(self.script):
            raise InvalidStateError(f"the script is over: it has {len(self.script)} steps")
        self._position += 1
        return self.script[self._position - 1]

    async def complete(self, request: ModelRequest, emit: Emit) -> ModelReply:
        """Ask the model; see `ModelSession.complete`."""
        step = await self.step(request)
        if isinstance(step, Fail):
            raise step.exception()
        if step.text:
            await self._speak(step, emit)
        return ModelReply(
            texts=[step.text] if step.text else [],
            calls=[ToolCall(new_call_id(), name, json.dumps(arguments)) for name, arguments in step.calls],
            usage=usage_of(request, step),
        )

    async def _speak(self, step: Reply, emit: Emit) -> None:
        await emit(TextStarted())
        text = ""
        for chunk in step.chunks():
            if self.delay:
                await asyncio.sleep(self.delay)
            text += chunk
            await emit(TextDelta(chunk, text))
        await emit(TextFinished(text))


class ScriptedAdapter(ToolLoopAdapter):
    """An `LLMAdapter` whose model follows a script.

    Args:
        script: What it does; it says what it is told by default.
        delay: Seconds between two words.
    """

    def __init__(self, script: Script | None = None, *, delay: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.model = ScriptedModel(echo if script is None else script, delay=delay)

    def default_model(self) -> str:
        return "scripted"

    @asynccontextmanager
    async def session(self, room: RoomClient) -> AsyncIterator[ModelSession]:
        yield self.model


def echo(request: ModelRequest) -> Reply:
    """The script of the built-in model: says what it is told.

    `call TOOL {"argument": …}` calls a tool, and then says what it answered. Where the answer must follow a schema,
    it is the simplest value that does.
    """
    last = request.messages[-1] if request.messages else {}
    if request.output_schema is not None:
        return Reply(json.dumps(simplest_value(request.output_schema)))
    if last.get("type") == "function_call_output":
        return Reply(f"The tool answered: {last.get('output', '')}")
    text = plain_text(last.get("content", ""))
    word, tool, arguments = (*text.split(None, 2), "", "", "")[:3]
    if word == "call" and any(offered.name == tool for offered in request.tools):
        try:
            return Reply("", [(tool, json.loads(arguments or "{}"))])
        except ValueError as error:
            return Reply(f"These arguments are not JSON: {error}")
    return Reply(f"You said: {text}")


def plain_text(content: Any) -> str:
    """The text of a message's content, parts joined."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else ""
    return " ".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping)).strip()


def usage_of(request: ModelRequest, reply: Reply) -> Usage:
    """Made-up costs: words."""
    asked = sum(len(str(message).split()) for message in request.messages)
    return Usage(asked, len(list(reply.chunks())) + len(reply.calls))


def new_call_id() -> str:
    """An id for a tool call, unique in every conversation."""
    return f"call_{uuid.uuid4().hex}"
