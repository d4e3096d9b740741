"""Tools and toolkits by themselves: arguments, results, companions."""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from meshagent.api.contracts.content import Body, EmptyBody, ErrorBody, FileBody, JsonBody, TextBody
from meshagent.api.errors import AlreadyExistsError, InvalidRequestError, NotFoundError
from meshagent.tools import (
    FunctionTool,
    MultiTool,
    MultiToolkit,
    PydanticTool,
    RequestTool,
    Tool,
    ToolContext,
    Toolkit,
    tool,
)
from tests.support.tool_contexts import context


class Add(Tool):
    def __init__(self) -> None:
        super().__init__(
            name="add",
            title="Add",
            description="adds two numbers",
            input_schema={
                "type": "object",
                "additionalProperties": False,
                "required": ["a", "b"],
                "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
            },
            rules=["never add money"],
        )

    async def execute(self, context: ToolContext, *, a: float, b: float) -> dict[str, Any]:
        return {"sum": a + b}


class Size(RequestTool):
    def __init__(self) -> None:
        super().__init__(name="size")

    async def execute(self, context: ToolContext, request: Body) -> str:
        return f"{request.type} of {len(request.get_data() or b'')}"


async def test_a_tool_gets_its_arguments_by_name_and_its_result_becomes_a_content() -> None:
    toolkit = Toolkit(name="math", tools=[Add()], rules=["be exact"])
    assert await toolkit.execute(context=context(), name="add", arguments={"a": 1, "b": 2}) == JsonBody(json={"sum": 3})
    assert toolkit.all_rules() == ["be exact", "never add money"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [({"a": 1}, "'b' is a required property"), ({"a": 1, "b": "2"}, "at b"), ({"a": 1, "b": 2, "c": 3}, "'c'")],
)
async def test_arguments_that_do_not_fit_never_reach_the_tool(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidRequestError, match=complaint):
        await Toolkit(name="math", tools=[Add()]).execute(context=context(), name="add", arguments=arguments)


class Stranger(Tool):
    def __init__(self) -> None:
        super().__init__(name="stranger", input_schema={"$ref": "http://127.0.0.1:1/schema.json"})

    async def execute(self, context: ToolContext, **kwargs: Any) -> None:
        pytest.fail("its arguments cannot be checked")


async def test_schemas_never_fetch_what_they_refer_to() -> None:
    with pytest.raises(InvalidRequestError, match="does not define"):
        await Stranger().invoke(context(), {"text": "a"})


async def test_a_request_tool_takes_a_whole_content() -> None:
    file = FileBody(name="a.bin", mime_type="application/octet-stream", data=b"1234")
    toolkit = Toolkit(name="files", tools=[Size()])
    answer = await toolkit.execute(context=context(), name="size", arguments=file.to_json(), attachment=file.data)
    assert answer == TextBody(text="file of 4")
    assert Size().registration().input_schema is None
    with pytest.raises(InvalidRequestError):
        await toolkit.execute(context=context(), name="size", arguments={})


def test_a_toolkit_has_each_name_once() -> None:
    with pytest.raises(AlreadyExistsError):
        Toolkit(name="math", tools=[Add(), Add()])
    with pytest.raises(NotFoundError):
        Toolkit(name="math", tools=[Add()]).get_tool("subtract")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    y: int = 0


class Title(BaseModel):
    title: str


@tool
async def paint(
    context: ToolContext,
    color: Color,
    at: list[Point],
    coats: Annotated[int, Field(ge=1, description="how many")] = 1,
    label: Title | None = None,
) -> dict[str, Any]:
    """Paint dots.

    They dry at once.

    Args:
        color: Which paint
            to take.
        at: Where.
        coats: Is described better in the annotation.
    """
    return {"color": color.name, "last": at[-1].x, "coats": coats, "caller": context.caller.id, "label": label}


def test_a_functions_schema_comes_from_its_hints_and_its_docstring() -> None:
    schema = paint.input_schema
    assert paint.name == "paint"
    assert paint.description == "Paint dots.\n\nThey dry at once."
    assert schema["required"] == ["color", "at"]
    assert schema["additionalProperties"] is False
    assert list(schema["properties"]) == ["color", "at", "coats", "label"]
    assert schema["properties"]["color"]["description"] == "Which paint to take."
    assert schema["properties"]["coats"] == {"type": "integer", "minimum": 1, "default": 1, "description": "how many"}
    assert schema["$defs"]["Title"]["properties"] == {"title": {"type": "string"}}


async def test_a_function_gets_values_of_its_types() -> None:
    answer = await paint.invoke(context(), {"color": "blue", "at": [{"x": 3}], "label": {"title": "t"}})
    assert answer == JsonBody(json={"color": "BLUE", "last": 3, "coats": 1, "caller": "alice", "label": {"title": "t"}})
    with pytest.raises(InvalidRequestError, match="coats"):
        await paint.invoke(context(), {"color": "blue", "at": [{"x": 3}], "coats": 0})


def returns(value: object) -> FunctionTool:
    def function() -> object:
        return value

    return FunctionTool(function, name="f")


@pytest.mark.parametrize(
    ("value", "content"),
    [
        (None, EmptyBody()),
        ("text", TextBody(text="text")),
        ([1, 2], JsonBody(json={"result": [1, 2]})),
        (7, JsonBody(json={"result": 7})),
        (Point(1), JsonBody(json={"x": 1, "y": 0})),
        (Title(title="t"), JsonBody(json={"title": "t"})),
        (ErrorBody(text="no"), ErrorBody(text="no")),
    ],
)
async def test_whatever_a_function_returns_becomes_a_content(value: object, content: Body) -> None:
    assert await returns(value).invoke(context(), {}) == content


async def test_what_has_no_json_form_is_an_error_that_says_so() -> None:
    with pytest.raises(InvalidRequestError, match="cannot be converted to JSON"):
        await returns(object()).invoke(context(), {})


async def test_plain_functions_do_not_block_the_loop() -> None:
    loop = asyncio.get_running_loop()
    reached = asyncio.Event()

    @tool(name="slow", rules=["r"])
    def slow() -> str:
        loop.call_soon_threadsafe(reached.set)
        asyncio.run_coroutine_threadsafe(reached.wait(), loop).result(5)  # would wait for ever on the loop itself
        return "done"

    assert slow.rules == ["r"]
    assert await slow.invoke(context(), {}) == TextBody(text="done")


def test_functions_that_cannot_be_called_by_name_are_refused() -> None:
    def variadic(*values: int) -> None: ...

    with pytest.raises(InvalidRequestError, match="values"):
        FunctionTool(variadic)


class Greeting(BaseModel):
    """A greeting."""

    name: str
    times: int = 1


class Greet(PydanticTool[Greeting]):
    async def execute_model(self, context: ToolContext, arguments: Greeting) -> BaseModel:
        return Title(title=f"hello {arguments.name}" * arguments.times)


async def test_a_pydantic_tool_gets_a_model() -> None:
    greet = Greet(name="greet", input_model=Greeting)
    assert greet.description == "A greeting."
    assert greet.input_schema["required"] == ["name"]
    assert await greet.invoke(context(), {"name": "bob"}) == JsonBody(json={"title": "hello bob"})
    with pytest.raises(InvalidRequestError, match="times"):
        await greet.invoke(context(), {"name": "bob", "times": "many"})


async def test_a_multi_tool_calls_its_companions_first_and_survives_their_failure() -> None:
    said: list[str] = []

    @tool
    async def show_toast(title: Title) -> None:
        said.append(title.title)
        if title.title == "broken":
            raise RuntimeError("no screen")

    toolkit = MultiToolkit(required=[show_toast], base_toolkit=Toolkit(name="math", tools=[Add()]))
    multi = toolkit.get_tool("add")
    assert isinstance(multi, MultiTool)
    assert set(multi.input_schema["properties"]) == {"show_toast", "add"}
    for text in ("adding", "broken"):
        arguments = {"show_toast": {"title": {"title": text}}, "add": {"a": 1, "b": 2}}
        answer = await toolkit.execute(context=context(), name="add", arguments=arguments)
        assert answer == JsonBody(json={"sum": 3})
    assert said == ["adding", "broken"]
    with pytest.raises(InvalidRequestError):
        await toolkit.execute(context=context(), name="add", arguments={"add": {"a": 1, "b": 2}})
