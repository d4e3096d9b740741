"""Builds requests of the two OpenAI-compatible APIs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from meshagent.llm.model import ModelRequest, ToolDefinition

__all__ = ["completions_request", "responses_request"]

Json = dict[str, Any]
_ANSWER: Final = "answer"


def responses_request(request: ModelRequest) -> Json:
    """Return the body for `POST /responses`. The provider stores nothing: each request sends the whole conversation."""
    body: Json = {
        "model": request.model,
        "input": [_responses_item(message) for message in request.messages],
        "store": False,
        "stream": True,
    }
    if request.instructions is not None:
        body["instructions"] = request.instructions
    if request.tools:
        # `strict` defaults to true, which would forbid optional arguments.
        body["tools"] = [{"type": "function", "strict": False, **_function(tool)} for tool in request.tools]
    if request.output_schema is not None:
        body["text"] = {"format": {"type": "json_schema", **_answer_format(request.output_schema)}}
    return body


def completions_request(request: ModelRequest) -> Json:
    """Return the body for `POST /chat/completions`."""
    body: Json = {
        "model": request.model,
        "messages": list(_completions_messages(request)),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.tools:
        body["tools"] = [{"type": "function", "function": _function(tool)} for tool in request.tools]
    if request.output_schema is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": _answer_format(request.output_schema)}
    return body


def _responses_item(message: Mapping[str, Any]) -> Json:
    content = message.get("content")
    if not isinstance(content, list):
        return dict(message)
    parts = []
    for part in content:
        if part["type"] == "image_url":
            parts.append({"type": "input_image", "image_url": part["url"], "detail": "auto"})
        else:
            kind = "output_text" if message["role"] == "assistant" else "input_text"
            parts.append({"type": kind, "text": part["text"]})
    return {**message, "content": parts}


def _completions_messages(request: ModelRequest) -> Iterable[Json]:
    """Yield the messages, with consecutive tool calls merged into one assistant message."""
    if request.instructions is not None:
        yield {"role": "system", "content": request.instructions}
    assistant: Json | None = None
    for message in request.messages:
        kind = message.get("type")
        if kind == "function_call":
            if assistant is None:
                assistant = {"role": "assistant", "content": None}
            assistant.setdefault("tool_calls", []).append(_completions_call(message))
            continue
        if assistant is not None:
            yield assistant
            assistant = None
        if kind == "function_call_output":
            yield {"role": "tool", "tool_call_id": message["call_id"], "content": message["output"]}
        elif message["role"] == "assistant":
            assistant = {"role": "assistant", "content": _completions_content(message["content"])}
        else:
            yield {"role": message["role"], "content": _completions_content(message["content"])}
    if assistant is not None:
        yield assistant


def _completions_call(message: Mapping[str, Any]) -> Json:
    function = {"name": message["name"], "arguments": message["arguments"]}
    return {"id": message["call_id"], "type": "function", "function": function}


def _completions_content(content: str | Sequence[Mapping[str, Any]]) -> Any:
    if isinstance(content, str):
        return content
    return [
        {"type": "image_url", "image_url": {"url": part["url"]}}
        if part["type"] == "image_url"
        else {"type": "text", "text": part["text"]}
        for part in content
    ]


def _function(tool: ToolDefinition) -> Json:
    return {"name": tool.name, "description": tool.description, "parameters": dict(tool.schema)}


def _answer_format(schema: Mapping[str, Any]) -> Json:
    return {"name": _ANSWER, "schema": dict(schema), "strict": is_strict(schema)}


def is_strict(schema: Any) -> bool:
    """Whether providers can enforce a schema: all objects are closed and all their properties required."""
    if isinstance(schema, list):
        return all(is_strict(item) for item in schema)
    if not isinstance(schema, Mapping):
        return True
    if "properties" in schema or schema.get("type") == "object":
        closed = schema.get("additionalProperties") is False
        if not closed or set(schema.get("required", ())) != set(schema.get("properties", {})):
            return False
        others = {key: value for key, value in schema.items() if key not in ("properties", "$defs")}
        nested = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
        return is_strict(nested) and all(is_strict(value) for value in others.values())
    return all(is_strict(value) for value in schema.values())
