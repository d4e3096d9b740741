"""`ToolLoopAdapter`: the loop that asks a model, runs the tools it calls, and asks again until it is done."""

from __future__ import annotations

import asyncio
import inspect
import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from meshagent.agents.llm.adapter import LLMAdapter
from meshagent.agents.llm.context import AgentChatContext
from meshagent.agents.llm.tool_catalog import CatalogEntry, ToolCatalog
from meshagent.agents.llm.tool_responses import ToolResponseAdapter
from meshagent.api import jsontext
from meshagent.api.contracts.content import Body, ErrorBody
from meshagent.api.errors import InvalidRequestError, LimitExceededError, RoomException
from meshagent.llm.events import EventHandler, LLMEvent, ToolCallFinished, ToolCallStarted, UsageReported
from meshagent.llm.model import ModelReply, ModelRequest, ModelSession, ToolCall
from meshagent.tools.context import ToolContext
from meshagent.tools.toolkit import Toolkit
from meshagent.tools.validation import SchemaChecker

if TYPE_CHECKING:
    from meshagent.api.participant import Participant
    from meshagent.api.room.client import RoomClient

__all__ = ["ToolLoopAdapter"]

log = logging.getLogger(__name__)

MAX_STEPS: Final = 100
MAX_CORRECTIONS: Final = 3
MAX_PARALLEL_CALLS: Final = 16


class ToolLoopAdapter(LLMAdapter):
    """Base class of adapters: subclasses implement `session`, which sends single requests to a model.

    Args:
        max_steps: Maximum number of requests to the model in one turn.
        parallel_tool_calls: Whether tool calls from one reply run concurrently or one at a time.
    """

    def __init__(self, *, max_steps: int = MAX_STEPS, parallel_tool_calls: bool = True) -> None:
        self._max_steps = max_steps
        self._max_parallel_calls = MAX_PARALLEL_CALLS if parallel_tool_calls else 1

    @abstractmethod
    def session(self, room: RoomClient) -> AbstractAsyncContextManager[ModelSession]:
        """Return the connection to the model for one turn."""

    async def next(
        self,
        *,
        context: AgentChatContext,
        room: RoomClient,
        toolkits: Sequence[Toolkit] = (),
        tool_adapter: ToolResponseAdapter | None = None,
        output_schema: Mapping[str, Any] | None = None,
        event_handler: EventHandler | None = None,
        model: str | None = None,
        caller: Participant | None = None,
        on_behalf_of: Participant | None = None,
    ) -> Any:
        """See `LLMAdapter.next`."""
        turn = _Turn(
            context=context,
            tools=ToolCatalog(toolkits),
            tool_context=ToolContext(room, caller or room.local_participant, on_behalf_of),
            tool_adapter=tool_adapter or ToolResponseAdapter(),
            output=None if output_schema is None else _OutputSchema(output_schema),
            event_handler=event_handler,
            model=model or self.default_model(),
            calls=asyncio.Semaphore(self._max_parallel_calls),
        )
        async with self.session(room) as session:
            for _ in range(self._max_steps):
                reply = await turn.ask(session)
                if reply.calls:
                    await turn.call_tools(reply)
                    continue
                answer = turn.finish(reply)
                if answer is not None:
                    return answer.value
        raise LimitExceededError(f"model did not finish within {self._max_steps} steps", limit=self._max_steps)


@dataclass(frozen=True, slots=True)
class _Answer:
    value: Any


@dataclass(slots=True)
class _OutputSchema:
    """The required JSON Schema of the answer, and how often the model was asked to correct its answer."""

    schema: Mapping[str, Any]
    corrections: int = 0
    checker: SchemaChecker = field(init=False)

    def __post_init__(self) -> None:
        self.checker = SchemaChecker(self.schema, subject="answer of the model")

    def read(self, text: str) -> Any:
        value = jsontext.loads(text)
        self.checker.check(value)
        return value


@dataclass(slots=True, kw_only=True)
class _Turn:
    """The state of one call to `next`."""

    context: AgentChatContext
    tools: ToolCatalog
    tool_context: ToolContext
    tool_adapter: ToolResponseAdapter
    output: _OutputSchema | None
    event_handler: EventHandler | None
    model: str
    calls: asyncio.Semaphore

    async def ask(self, session: ModelSession) -> ModelReply:
        rules = [*self.context.rules, *(rule for rule in self.tools.rules if rule not in self.context.rules)]
        request = ModelRequest(
            model=self.model,
            instructions="\n".join(rules) or None,
            messages=list(self.context.messages),
            tools=self.tools.definitions(),
            output_schema=None if self.output is None else self.output.schema,
        )
        reply = await session.complete(request, self.emit)
        if reply.usage is not None:
            await self.emit(UsageReported(self.model, reply.usage.input_tokens, reply.usage.output_tokens))
        return reply

    async def emit(self, event: LLMEvent) -> None:
        if self.event_handler is not None:
            pending = self.event_handler(event)
            if inspect.isawaitable(pending):
                await pending

    def finish(self, reply: ModelReply) -> _Answer | None:
        """Return a reply without tool calls as the answer, or None if the model must correct it."""
        text = "".join(reply.texts)
        self.context.append_assistant_message(text)
        if self.output is None:
            return _Answer(text)
        try:
            return _Answer(self.output.read(text))
        except InvalidRequestError as error:
            self.output.corrections += 1
            if self.output.corrections > MAX_CORRECTIONS:
                raise
            self.context.append_user_message(f"{error}. Answer again, with JSON only that fits the schema.")
            return None

    async def call_tools(self, reply: ModelReply) -> None:
        """Run the requested tool calls. The context changes only after all have returned; see `LLMAdapter.next`."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._call(call)) for call in reply.calls]
        except BaseExceptionGroup as group_error:  # `_execute` never raises, so this comes from the event handler
            raise group_error.exceptions[0] from None
        for text in reply.texts:
            self.context.append_assistant_message(text)
        for call in reply.calls:
            self.context.append_tool_call(call_id=call.call_id, name=call.name, arguments=call.arguments)
        for call, task in zip(reply.calls, tasks, strict=True):
            output = self.tool_adapter.to_plain_text(task.result())
            self.context.append_tool_result(call_id=call.call_id, output=output)

    async def _call(self, call: ToolCall) -> Body:
        entry = self.tools.find(call.name)
        if entry is None:
            return ErrorBody(text=f"no tool named {call.name!r}")
        try:
            arguments = _arguments(call)
        except InvalidRequestError as error:
            return ErrorBody(text=str(error))
        toolkit = entry.toolkit.name
        async with self.calls:
            await self.emit(ToolCallStarted(call.call_id, toolkit, entry.tool.name, arguments))
            answer = await self._execute(entry, arguments)
            await self.emit(ToolCallFinished(call.call_id, toolkit, entry.tool.name, answer))
        return answer

    async def _execute(self, entry: CatalogEntry, arguments: dict[str, Any]) -> Body:
        try:
            return await entry.toolkit.execute(context=self.tool_context, name=entry.tool.name, arguments=arguments)
        except RoomException as error:
            return ErrorBody(text=str(error))
        except Exception as error:
            log.exception("tool %s.%s failed", entry.toolkit.name, entry.tool.name)
            return ErrorBody(text=str(error) or type(error).__name__)


def _arguments(call: ToolCall) -> dict[str, Any]:
    arguments = jsontext.loads(call.arguments or "{}")
    if not isinstance(arguments, dict):
        raise InvalidRequestError(f"arguments of {call.name} must be a JSON object")
    return arguments
