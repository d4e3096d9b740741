"""`PydanticTool`: a tool whose arguments are a Pydantic model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar, cast

from pydantic import BaseModel

from meshagent.tools.context import ToolContext
from meshagent.tools.function_tool import closed_schema, to_result, validated
from meshagent.tools.tool import Tool, ToolResult

__all__ = ["PydanticTool"]

ModelT = TypeVar("ModelT", bound=BaseModel)


class PydanticTool(Tool, Generic[ModelT]):
    """A tool that receives its arguments as an instance of `input_model`. Override `execute_model`.

    Args:
        input_model: Type of the arguments. Its JSON Schema becomes the tool's input schema.
    """

    def __init__(
        self,
        *,
        name: str,
        input_model: type[ModelT],
        title: str | None = None,
        description: str | None = None,
        rules: Sequence[str] | None = None,
        thumbnail_url: str | None = None,
    ) -> None:
        self.input_model = input_model
        super().__init__(
            name=name,
            title=title,
            description=description if description is not None else input_model.__doc__,
            input_schema=closed_schema(input_model),
            rules=rules,
            thumbnail_url=thumbnail_url,
        )

    @abstractmethod
    async def execute_model(self, context: ToolContext, arguments: ModelT) -> ToolResult | BaseModel:
        """Run the tool. A returned model is converted to JSON."""

    async def execute(self, context: ToolContext, *args: Any, **kwargs: Any) -> ToolResult:
        """Convert the arguments to the model and call `execute_model`.

        Raises:
            InvalidRequestError: The arguments do not match the model; other errors come from the tool.
        """
        arguments = validated(self.input_model, kwargs, subject=f"arguments of {self.name}")
        return to_result(await self.execute_model(context, cast(ModelT, arguments)))
