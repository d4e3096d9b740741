"""A scripted model, for tests and first steps without a provider key or a network."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from meshagent.api.errors import InvalidStateError, RoomException, UnavailableError
from meshagent.llm.events import TextDelta, TextFinished, TextStarted
from meshagent.llm.model import Emit, ModelReply, ModelRequest, ModelSession, ToolCall, Usage
from meshagent.llm.schema_sample import sample_value

__all__ = ["Fail", "Reply", "ScriptedModel", "call", "echo", "say"]


@dataclass(frozen=True, slots=True)
class Reply:
    """A step in which the model returns text, calls tools, or both, text first."""

    text: str = ""
    calls: Sequence[tuple[str, Mapping[str, Any]]] = ()

    def chunks(self) -> Iterator[str]:
        """Return the pieces in which the text is streamed: words with the white space after them."""
        return (match[0] for match in re.finditer(r"\S*\s*", self.text) if match[0])


@dataclass(frozen=True, slots=True)
class Fail:
    """A step in which the model fails; `status` is the HTTP status that a provider would return."""

    message: str
    status: int = 500
    error: RoomException | None = None

    def exception(self) -> RoomException:
        """Return the exception raised to callers in this process."""
        return self.error if self.error is not None else UnavailableError(self.message)


Step: TypeAlias = Reply | Fail
Script: TypeAlias = "Sequence[Step] | Callable[[ModelRequest], Step | Awaitable[Step]]"
"""The model's replies in order, or a function (or coroutine function) from request to reply."""


def say(text: str, *calls: tuple[str, Mapping[str, Any]]) -> Reply:
    """Return text, then make `calls`."""
    return Reply(text, calls)


def call(tool: str, /, **arguments: Any) -> Reply:
    """Call a tool."""
    return Reply("", [(tool, arguments)])


@dataclass(slots=True)
class ScriptedModel(ModelSession):
    """A model that follows a script.

    Attributes:
        script: The model's replies.
        delay: Seconds between two words.
        keep_requests: How many requests to keep.
        requests: The latest `keep_requests` requests, oldest first.
    """

    script: Script
    delay: float = 0.0
    keep_requests: int = 1000
    requests: list[ModelRequest] = field(default_factory=list)
    _position: int = 0

    async def step(self, request: ModelRequest) -> Step:
        """Record a request and return the script's next step.

        Raises:
            InvalidStateError: The script has no further step.
        """
        self.requests.append(request)
        del self.requests[: -self.keep_requests or len(self.requests)]
        if callable(self.script):
            chosen = self.script(request)
            return chosen if isinstance(chosen, (Reply, Fail)) else await chosen
        if self._position >= len(self.script):
            raise InvalidStateError(f"script has no more steps after {len(self.script)}")
        self._position += 1
        return self.script[self._position - 1]

    async def complete(self, request: ModelRequest, emit: Emit) -> ModelReply:
        """See `ModelSession.complete`."""
        step = await self.step(request)
        if isinstance(step, Fail):
            raise step.exception()
        if step.text:
            await self._emit_text(step, emit)
        return ModelReply(
            texts=[step.text] if step.text else [],
            calls=[ToolCall(new_call_id(), name, json.dumps(arguments)) for name, arguments in step.calls],
            usage=usage_of(request, step),
        )

    async def _emit_text(self, step: Reply, emit: Emit) -> None:
        await emit(TextStarted())
        text = ""
        for chunk in step.chunks():
            if self.delay:
                await asyncio.sleep(self.delay)
            text += chunk
            await emit(TextDelta(chunk, text))
        await emit(TextFinished(text))


def echo(request: ModelRequest) -> Reply:
    """The default script: repeats what it is told.

    `call TOOL {"argument": …}` calls a tool and then returns the tool's answer. If the request has an output schema,
    the reply is `sample_value` of it.
    """
    last = request.messages[-1] if request.messages else {}
    if request.output_schema is not None:
        return Reply(json.dumps(sample_value(request.output_schema)))
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
    """Return the text of a message's content, with parts joined."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else ""
    return " ".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping)).strip()


def usage_of(request: ModelRequest, reply: Reply) -> Usage:
    """Return a token count for tests: one per word."""
    asked = sum(len(str(message).split()) for message in request.messages)
    return Usage(asked, len(list(reply.chunks())) + len(reply.calls))


def new_call_id() -> str:
    """Return a globally unique id for a tool call."""
    return f"call_{uuid.uuid4().hex}"
