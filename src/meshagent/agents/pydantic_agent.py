"""`PydanticAgent`: a task runner whose arguments and answers are Pydantic models."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from meshagent.agents.context import AgentCallContext
from meshagent.agents.task_runner import TaskRunner
from meshagent.api.room.descriptions import Requirement
from meshagent.tools.function_tool import closed_schema, validated
from meshagent.tools.toolkit import Toolkit

__all__ = ["PydanticAgent"]

InputT = TypeVar("InputT", bound=BaseModel)
OutputT = TypeVar("OutputT", bound=BaseModel)


class PydanticAgent(TaskRunner, Generic[InputT, OutputT]):
    """A task runner with typed input and output: override `ask_model`. The JSON Schemas come from the models.

    Args:
        input_model: Type of the arguments.
        output_model: Type of the answer.

    Other arguments: as `TaskRunner`.
    """

    def __init__(
        self,
        *,
        input_model: type[InputT],
        output_model: type[OutputT],
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        requires: Sequence[Requirement] = (),
        supports_tools: bool = False,
        labels: Sequence[str] = (),
        toolkits: Sequence[Toolkit] = (),
    ) -> None:
        super().__init__(
            name=name,
            title=title,
            description=description,
            input_schema=closed_schema(input_model),
            output_schema=output_model.model_json_schema(mode="serialization"),
            requires=requires,
            supports_tools=supports_tools,
            labels=labels,
            toolkits=toolkits,
        )
        self.input_model = input_model
        self.output_model = output_model

    @abstractmethod
    async def ask_model(self, context: AgentCallContext, arguments: InputT) -> OutputT:
        """Return the answer. Exceptions are reported to the caller as in `TaskRunner.ask`."""

    async def ask(self, *, context: AgentCallContext, arguments: dict[str, Any]) -> Any:
        """Call `ask_model` with JSON arguments; InvalidRequestError if they do not fit the input model."""
        model: Any = validated(self.input_model, arguments, subject=f"arguments of {self.name}")
        return (await self.ask_model(context, model)).model_dump(mode="json")
