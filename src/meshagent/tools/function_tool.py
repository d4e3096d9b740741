"""Tools from plain Python functions: type hints become the schema, the docstring becomes the descriptions."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast, get_args, get_origin, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from meshagent.api.contracts.content import Body, JsonBody
from meshagent.api.errors import InvalidRequestError
from meshagent.tools.context import ToolContext
from meshagent.tools.tool import Tool, ToolResult

__all__ = ["FunctionTool", "tool"]

Function = Callable[..., Any]


class FunctionTool(Tool):
    """A tool that calls a function.

    The parameters become the tool's arguments. Their types become the JSON Schema, as Pydantic understands them
    (including `Annotated[int, Field(description=…)]`, enums, dataclasses and models); the docstring's `Args:` section
    provides their descriptions. A parameter annotated as `ToolContext` receives the context. Coroutine functions run on
    the event loop, other functions in a worker thread. The function may return anything that can be converted to JSON:
    objects, strings and contents are returned as they are, other values as `{"result": value}`.

    Args:
        function: The function or callable object.
        name: Default: the function's name.
        title: Default: the name with spaces for underscores.
        description: Default: the docstring's text before `Args:`.

    Raises:
        InvalidRequestError: The function has a positional-only or variadic parameter, or one whose type has no schema.
    """

    def __init__(
        self,
        function: Function,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        rules: Sequence[str] | None = None,
        thumbnail_url: str | None = None,
    ) -> None:
        self.function = function
        tool_name = name if name is not None else getattr(function, "__name__", type(function).__name__)
        docstring = _Docstring(inspect.getdoc(function) or "")
        self._context_parameter, self._model = _arguments_model(function, tool_name, docstring)
        self._is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - an object whose call is a coroutine function
        )
        super().__init__(
            name=tool_name,
            title=title if title is not None else tool_name.replace("_", " ").strip(),
            description=description if description is not None else docstring.text,
            input_schema=closed_schema(self._model),
            rules=rules,
            thumbnail_url=thumbnail_url,
        )

    async def execute(self, context: ToolContext, *args: Any, **kwargs: Any) -> ToolResult:
        """Convert the arguments to the function's types and call it.

        Raises:
            InvalidRequestError: An argument does not match its type; other errors come from the function.
        """
        values = self._values(kwargs)
        if self._context_parameter is not None:
            values[self._context_parameter] = context
        if self._is_async:
            return to_result(await self.function(**values))
        return to_result(await asyncio.to_thread(self.function, **values))

    def _values(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        model = validated(self._model, arguments, subject=f"arguments of {self.name}")
        # Pass only the given arguments, so that the function's own defaults apply to the others.
        return {name: getattr(model, name) for name in type(model).model_fields if name in model.model_fields_set}


@overload
def tool(function: Function, /) -> FunctionTool: ...


@overload
def tool(
    *,
    name: str | None = None,
    title: str | None = None,
    description: str | None = None,
    rules: Sequence[str] | None = None,
    thumbnail_url: str | None = None,
) -> Callable[[Function], FunctionTool]: ...


def tool(function: Function | None = None, /, **options: Any) -> FunctionTool | Callable[[Function], FunctionTool]:
    """Decorator that turns a function into a `FunctionTool`: `@tool`, or `@tool(name=…, rules=…)`."""
    if function is not None:
        return FunctionTool(function)
    return lambda decorated: FunctionTool(decorated, **options)


def function_tools(*functions: Function) -> list[FunctionTool]:
    """Return a tool for each function. A leading underscore of a private method is dropped from the tool's name."""
    return [FunctionTool(function, name=function.__name__.lstrip("_")) for function in functions]


def to_result(value: object) -> ToolResult:
    """Convert a function's return value to a tool result; InvalidRequestError if it cannot be converted to JSON."""
    if value is None or isinstance(value, (Body, str)):
        return value
    try:
        plain = to_jsonable_python(value)
    except PydanticSerializationError as error:
        raise InvalidRequestError(f"tool result cannot be converted to JSON: {error}") from None
    return JsonBody(json=plain if isinstance(plain, dict) else {"result": plain})


def closed_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of a model's input, without the titles that Pydantic generates."""
    schema = cast("dict[str, Any]", _without_titles(model.model_json_schema()))
    schema.setdefault("properties", {})
    schema.setdefault("required", [])
    return schema


def validated(model: type[BaseModel], value: Mapping[str, Any], *, subject: str) -> BaseModel:
    """Return `value` as an instance of `model`; InvalidRequestError if it is invalid."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidRequestError(f"invalid {subject}: {where}: {first['msg']}") from None


def _arguments_model(function: Function, name: str, docstring: _Docstring) -> tuple[str | None, type[BaseModel]]:
    """Return the name of the parameter that receives the context, if any, and a model of the other parameters."""
    target = function if inspect.isroutine(function) else type(function).__call__
    try:
        hints = get_type_hints(target, include_extras=True)
    except NameError as error:
        raise InvalidRequestError(f"{name}: cannot resolve a type hint: {error}") from None
    context_parameter: str | None = None
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise InvalidRequestError(f"{name}: parameter {parameter.name!r} cannot be passed by name")
        hint = hints.get(parameter.name, Any)
        if hint is ToolContext or ToolContext in get_args(hint):
            context_parameter = parameter.name
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        description = docstring.parameters.get(parameter.name)
        if description is None or _is_described(hint):
            fields[parameter.name] = (hint, default)
        else:
            fields[parameter.name] = (hint, Field(default=default, description=description))
    try:
        config = ConfigDict(extra="forbid", protected_namespaces=())
        model = create_model(f"{name}_arguments", __config__=config, **fields)
        model.model_json_schema()
    except (PydanticUserError, NameError, TypeError) as error:
        raise InvalidRequestError(f"{name}: no JSON Schema for its parameters: {error}") from None
    return context_parameter, model


def _is_described(hint: Any) -> bool:
    return get_origin(hint) is not None and any(
        getattr(part, "description", None) for part in getattr(hint, "__metadata__", ())
    )


_NAMES: Final = ("properties", "$defs")
_VALUES: Final = ("default", "const", "enum", "examples")


def _without_titles(schema: Any, *, names: bool = False) -> Any:
    """Return a schema without `title`s. With `names`, the keys are property names, all of which are kept."""
    if isinstance(schema, dict):
        return {
            key: value if key in _VALUES and not names else _without_titles(value, names=not names and key in _NAMES)
            for key, value in schema.items()
            if names or key != "title" or not isinstance(value, str)
        }
    if isinstance(schema, list):
        return [_without_titles(item) for item in schema]
    return schema


class _Docstring:
    """A Google-style docstring: its text, and the descriptions in its `Args:` section by parameter."""

    _SECTION = re.compile(r"^(Args|Arguments|Parameters|Returns|Raises|Yields|Example|Examples):\s*$", re.MULTILINE)
    _ENTRY = re.compile(r"^ {4}\*{0,2}(\w+)(?: \([^)]*\))?:\s*(.*(?:\n {5,}.*)*)", re.MULTILINE)

    def __init__(self, text: str) -> None:
        parts = self._SECTION.split(text)
        sections = dict(zip(parts[1::2], parts[2::2], strict=True))
        entries = sections.get("Args") or sections.get("Arguments") or sections.get("Parameters") or ""
        self.text = parts[0].strip()
        self.parameters = {name: " ".join(words.split()) for name, words in self._ENTRY.findall(entries)}
