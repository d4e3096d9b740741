"""Task runners that answer with a language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from meshagent.agents.context import AgentCallContext
from meshagent.agents.default_llm import llm_or_default
from meshagent.agents.llm.adapter import LLMAdapter
from meshagent.agents.llm.context import AgentChatContext
from meshagent.agents.llm.tool_responses import ToolResponseAdapter
from meshagent.agents.task_runner import TaskRunner
from meshagent.api import jsontext
from meshagent.api.errors import InvalidRequestError
from meshagent.api.room.descriptions import Requirement
from meshagent.tools.toolkit import Toolkit

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["DynamicLLMTaskRunner", "LLMTaskRunner"]

_PROMPT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"prompt": {"type": "string", "description": "the task to perform"}},
    "required": ["prompt"],
    "additionalProperties": False,
}

_PROMPT_AND_SCHEMA: dict[str, Any] = {
    **_PROMPT_SCHEMA,
    "properties": {
        **_PROMPT_SCHEMA["properties"],
        "output_schema": {"type": "object", "description": "JSON Schema of the answer"},
    },
    "required": ["prompt", "output_schema"],
}


class LLMTaskRunner(TaskRunner):
    """Answers each request with one conversation with a language model, which may call tools.

    Args:
        llm_adapter: The model. Default: the room's, see `llm_or_default`.
        tool_adapter: Converts tool responses to text for the model.
        rules: Instructions for the model.
        input_schema: JSON Schema of the arguments. Default: one string argument, `prompt`. With any other schema the
            model receives the arguments as JSON.
        output_schema: JSON Schema of the answer. Default: the answer is `{"text": …}`.

    Other arguments: as `TaskRunner`.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        llm_adapter: LLMAdapter | None = None,
        tool_adapter: ToolResponseAdapter | None = None,
        toolkits: Sequence[Toolkit] = (),
        rules: Sequence[str] = (),
        input_schema: Mapping[str, Any] | None = None,
        output_schema: Mapping[str, Any] | None = None,
        requires: Sequence[Requirement] = (),
        supports_tools: bool = True,
        labels: Sequence[str] = (),
    ) -> None:
        super().__init__(
            name=name,
            title=title,
            description=description,
            input_schema=_PROMPT_SCHEMA if input_schema is None else input_schema,
            output_schema=output_schema,
            requires=requires,
            supports_tools=supports_tools,
            labels=labels,
            toolkits=toolkits,
        )
        self.rules = list(rules)
        self._given_llm = llm_adapter
        self._tool_adapter = tool_adapter

    async def start(self, *, room: RoomClient) -> None:
        """As `TaskRunner.start`."""
        self.llm_adapter = llm_or_default(self._given_llm, room)
        await super().start(room=room)

    def init_chat_context(self) -> AgentChatContext:
        """Return a new conversation that contains the rules. Override it to add more."""
        chat = self.llm_adapter.create_chat_context()
        chat.append_rules(self.rules)
        return chat

    async def ask(self, *, context: AgentCallContext, arguments: dict[str, Any]) -> Any:
        """Let the model answer. Raises the same errors as `LLMAdapter.next`."""
        return await self._run(context, _as_prompt(arguments), self.output_schema)

    async def _run(self, context: AgentCallContext, prompt: str, output_schema: Mapping[str, Any] | None) -> Any:
        chat = self.init_chat_context()
        chat.append_user_message(prompt)
        answer = await self.llm_adapter.next(
            context=chat,
            room=context.room,
            toolkits=context.toolkits,
            tool_adapter=self._tool_adapter,
            output_schema=output_schema,
            caller=context.room.local_participant,
            on_behalf_of=context.beneficiary,
        )
        return {"text": answer} if output_schema is None else answer


class DynamicLLMTaskRunner(LLMTaskRunner):
    """An `LLMTaskRunner` whose callers choose the form of the answer: its arguments are `prompt` and `output_schema`.

    Takes the arguments of `LLMTaskRunner` except the schemas.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        llm_adapter: LLMAdapter | None = None,
        tool_adapter: ToolResponseAdapter | None = None,
        toolkits: Sequence[Toolkit] = (),
        rules: Sequence[str] = (),
        requires: Sequence[Requirement] = (),
        supports_tools: bool = True,
        labels: Sequence[str] = (),
    ) -> None:
        super().__init__(
            name=name,
            title=title,
            description=description,
            llm_adapter=llm_adapter,
            tool_adapter=tool_adapter,
            toolkits=toolkits,
            rules=rules,
            input_schema=_PROMPT_AND_SCHEMA,
            requires=requires,
            supports_tools=supports_tools,
            labels=labels,
        )

    async def ask(self, *, context: AgentCallContext, arguments: dict[str, Any]) -> Any:
        """Let the model answer in the requested form. Raises the same errors as `LLMAdapter.next`."""
        schema = arguments.get("output_schema")
        if not isinstance(schema, dict):
            raise InvalidRequestError("`output_schema` is required: the JSON Schema of the answer")
        return await self._run(context, str(arguments.get("prompt", "")), schema)


def _as_prompt(arguments: Mapping[str, Any]) -> str:
    """Return a lone prompt unchanged, any other arguments as JSON."""
    prompt = arguments.get("prompt")
    if len(arguments) == 1 and isinstance(prompt, str):
        return prompt
    return jsontext.dumps(dict(arguments)).decode()
