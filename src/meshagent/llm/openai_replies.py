"""The server side of the OpenAI-compatible APIs: parses requests, and builds replies, whole or streamed."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from meshagent.api.errors import InvalidRequestError
from meshagent.llm.model import ModelRequest, ToolDefinition, Usage
from meshagent.llm.scripted import Reply, new_call_id, plain_text, usage_of

__all__ = ["CompletionsReply", "ResponsesReply", "read_completions_request", "read_responses_request"]

Json = dict[str, Any]


# -- requests


def read_completions_request(body: Mapping[str, Any]) -> ModelRequest:
    """Parse the body of `POST /chat/completions`; InvalidRequestError if it is malformed."""
    try:
        instructions: list[str] = []
        messages: list[Json] = []
        for message in body["messages"]:
            match message["role"]:
                case "system" | "developer":
                    instructions.append(plain_text(message["content"]))
                case "tool":
                    output = plain_text(message["content"])
                    messages.append(
                        {"type": "function_call_output", "call_id": message["tool_call_id"], "output": output}
                    )
                case role:
                    if message.get("content"):
                        messages.append({"role": role, "content": message["content"]})
                    messages.extend(_call_item(call) for call in message.get("tool_calls") or ())
        response_format = body.get("response_format") or {}
        return ModelRequest(
            model=str(body["model"]),
            instructions="\n".join(instructions) or None,
            messages=messages,
            tools=_tools(tool["function"] for tool in body.get("tools") or () if tool.get("type") == "function"),
            output_schema=(response_format.get("json_schema") or {}).get("schema"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidRequestError(f"malformed request: {type(error).__name__} {error}") from None


def read_responses_request(body: Mapping[str, Any]) -> ModelRequest:
    """Parse the body of `POST /responses`; InvalidRequestError if it is malformed."""
    try:
        given = body["input"]
        items = [{"role": "user", "content": given}] if isinstance(given, str) else list(given)
        instructions = [str(body["instructions"])] if body.get("instructions") else []
        instructions += [plain_text(item["content"]) for item in items if item.get("role") in ("system", "developer")]
        text_format = (body.get("text") or {}).get("format") or {}
        return ModelRequest(
            model=str(body["model"]),
            instructions="\n".join(instructions) or None,
            messages=[item for item in items if item.get("role") not in ("system", "developer")],
            tools=_tools(tool for tool in body.get("tools") or () if tool.get("type") == "function"),
            output_schema=text_format.get("schema"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidRequestError(f"malformed request: {type(error).__name__} {error}") from None


def _call_item(call: Mapping[str, Any]) -> Json:
    function = call["function"]
    return {
        "type": "function_call",
        "call_id": call["id"],
        "name": function["name"],
        "arguments": function["arguments"],
    }


def _tools(functions: Iterable[Mapping[str, Any]]) -> list[ToolDefinition]:
    return [
        ToolDefinition(function["name"], function.get("description") or "", function.get("parameters") or {})
        for function in functions
    ]


# -- replies


@dataclass(slots=True)
class CompletionsReply:
    """A reply in the format of Chat Completions."""

    request: ModelRequest
    reply: Reply
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self) -> Json:
        """Return the reply as one object."""
        message: Json = {"role": "assistant", "content": self.reply.text or None, "refusal": None}
        if self.reply.calls:
            message["tool_calls"] = self._calls()
        choice = {"index": 0, "message": message, "finish_reason": self._reason(), "logprobs": None}
        return {**self._head("chat.completion"), "choices": [choice], "usage": self._usage()}

    def events(self) -> Iterator[tuple[str | None, Json]]:
        """Return the reply as unnamed events, one per chunk; the last contains the usage."""
        yield None, self._chunk({"role": "assistant", "content": ""})
        for piece in self.reply.chunks():
            yield None, self._chunk({"content": piece})
        for index, call in enumerate(self._calls()):
            yield None, self._chunk({"tool_calls": [{"index": index, **call}]})
        yield None, self._chunk({}, self._reason())
        yield None, {**self._head("chat.completion.chunk"), "choices": [], "usage": self._usage()}

    def _calls(self) -> list[Json]:
        return [
            {"id": new_call_id(), "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
            for name, arguments in self.reply.calls
        ]

    def _chunk(self, delta: Json, finish_reason: str | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def _head(self, kind: str) -> Json:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.request.model}

    def _reason(self) -> str:
        return "tool_calls" if self.reply.calls else "stop"

    def _usage(self) -> Json:
        usage = usage_of(self.request, self.reply)
        return {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
        }


@dataclass(slots=True)
class ResponsesReply:
    """A reply in the format of the Responses API."""

    request: ModelRequest
    reply: Reply
    id: str = field(default_factory=lambda: f"resp_{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self) -> Json:
        """Return the reply as one object."""
        return self._response("completed", self._items(), usage_of(self.request, self.reply))

    def events(self) -> Iterator[tuple[str | None, Json]]:
        """Return the reply as named events."""
        for number, event in enumerate(self._events()):
            yield event["type"], {**event, "sequence_number": number}

    def _events(self) -> Iterator[Json]:
        yield {"type": "response.created", "response": self._response("in_progress", [])}
        yield {"type": "response.in_progress", "response": self._response("in_progress", [])}
        items = self._items()
        for index, item in enumerate(items):
            place = {"output_index": index, "item_id": item["id"]}
            empty: Json = {"content": []} if item["type"] == "message" else {"arguments": ""}
            added = {**item, **empty, "status": "in_progress"}
            yield {"type": "response.output_item.added", "output_index": index, "item": added}
            yield from self._text_events(item, place) if item["type"] == "message" else _call_events(item, place)
            yield {"type": "response.output_item.done", "output_index": index, "item": item}
        completed = self._response("completed", items, usage_of(self.request, self.reply))
        yield {"type": "response.completed", "response": completed}

    def _text_events(self, item: Json, place: Json) -> Iterator[Json]:
        place = {**place, "content_index": 0}
        yield {"type": "response.content_part.added", **place, "part": _text_part("")}
        for piece in self.reply.chunks():
            yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
        yield {"type": "response.output_text.done", **place, "text": self.reply.text, "logprobs": []}
        yield {"type": "response.content_part.done", **place, "part": item["content"][0]}

    def _items(self) -> list[Json]:
        items: list[Json] = []
        if self.reply.text:
            content = [_text_part(self.reply.text)]
            items.append({"type": "message", "id": _id("msg"), "role": "assistant", "content": content})
        for name, arguments in self.reply.calls:
            call = {"call_id": new_call_id(), "name": name, "arguments": json.dumps(arguments)}
            items.append({"type": "function_call", "id": _id("fc"), **call})
        return [{**item, "status": "completed"} for item in items]

    def _response(self, status: str, output: Sequence[Json], usage: Usage | None = None) -> Json:
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "model": self.request.model,
            "output": list(output),
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "usage": None if usage is None else _responses_usage(usage),
        }


def _call_events(item: Json, place: Json) -> Iterator[Json]:
    yield {"type": "response.function_call_arguments.delta", **place, "delta": item["arguments"]}
    done = {"name": item["name"], "arguments": item["arguments"]}
    yield {"type": "response.function_call_arguments.done", **place, **done}


def _text_part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _responses_usage(usage: Usage) -> Json:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"
