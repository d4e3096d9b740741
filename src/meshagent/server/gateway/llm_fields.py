"""What participants may ask of a model: a list of fields, tools and inputs; everything else is refused by name.

All projects share the provider's account. What reaches into it (stored responses, files, prompts by id), makes the
provider call others (remote MCP servers), or costs without a bound (background work, several answers) is not passed on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

from meshagent.api.errors import InvalidRequestError

__all__ = ["checked_request", "estimated_input", "output_bound"]

_COMMON: Final = frozenset(
    [
        "model",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "top_logprobs",
        "user",
        "store",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
    ]
)
_COMPLETION: Final = frozenset(
    [
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "seed",
        "n",
        "logprobs",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "response_format",
        "reasoning_effort",
        "verbosity",
    ]
)
_RESPONSE: Final = frozenset(
    [
        "input",
        "instructions",
        "max_output_tokens",
        "text",
        "reasoning",
        "truncation",
        "include",
        "metadata",
        "background",
    ]
)
FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "chat/completions": _COMMON | _COMPLETION,
    "responses": _COMMON | _RESPONSE,
    "embeddings": frozenset(["model", "input", "dimensions", "encoding_format", "user"]),
}
_OUTPUT_LIMITS: Final = {
    "chat/completions": ("max_completion_tokens", "max_tokens"),
    "responses": ("max_output_tokens",),
}
_TOKENS_OF_A_FILE: Final = 1000
_FILE_BYTES_PER_TOKEN: Final = 40
_BYTES_PER_TOKEN: Final = 4
_BYTES_AROUND_A_VALUE: Final = 2
_VALUES_PER_TURN: Final = 2000
_ONLY_VALUE: Final[Mapping[str, Any]] = {"n": 1, "background": False}
_INCLUDES: Final = frozenset(["reasoning.encrypted_content", "message.output_text.logprobs"])
_ITEMS: Final = frozenset(
    [
        "message",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "reasoning",
    ]
)
_PARTS: Final = frozenset(
    [
        "text",
        "refusal",
        "image_url",
        "input_audio",
        "file",
        "input_text",
        "input_image",
        "input_file",
        "output_text",
        "summary_text",
        "reasoning_text",
    ]
)


def checked_request(
    path: str,
    body: Mapping[str, Any],
    *,
    tools: Iterable[str],
    max_output_tokens: int,
    default_output_tokens: int | None = None,
) -> dict[str, Any]:
    """The request as it may go to the provider: not stored there, and with a bound on what comes back.

    Fields that are null count as absent.

    Args:
        path: Such as `responses`.
        body: What the participant asks.
        tools: Types of tools that are allowed.
        max_output_tokens: Most tokens of one answer.
        default_output_tokens: What is asked for where the request names no bound; by default the most.

    Raises:
        InvalidRequestError: It has something that is not on the list; the text names it.
    """
    given = {name: value for name, value in body.items() if value is not None}
    for name in given:
        if name not in FIELDS[path]:
            raise InvalidRequestError(f"the field {name[:100]!r} is not allowed in requests to models")
        if name in _ONLY_VALUE and given[name] != _ONLY_VALUE[name]:
            raise InvalidRequestError(f"the field {name!r} can only be {_ONLY_VALUE[name]!r}".replace("False", "false"))
    _check_tools(given, frozenset(tools))
    _check_include(given.get("include", []))
    if path == "responses" and isinstance(given.get("input"), list):
        _check_items(given["input"])
    elif path == "chat/completions":
        for message in _objects(given.get("messages", []), "messages"):
            _check_parts(message.get("content"), "messages")
    if path == "embeddings":
        return given
    given["store"] = False
    _bound_output(path, given, max_output_tokens, default_output_tokens or max_output_tokens)
    return given


def output_bound(path: str, checked: Mapping[str, Any]) -> int:
    """The most tokens that the answer to a checked request can have."""
    return max((checked[name] for name in _OUTPUT_LIMITS.get(path, ()) if name in checked), default=0)


async def estimated_input(body: Mapping[str, Any]) -> int:
    """About how many tokens a request has: one for each four bytes of its texts, a thousand for an image or a sound.

    A document is at least a thousand, or one for each 40 bytes of its base64.

    Others have their turns while a large one is read.
    """
    tokens = size = values = 0
    waiting: list[Any] = [body]
    while waiting:
        value = waiting.pop()
        values += len(value)
        if values > _VALUES_PER_TURN:
            values = 0
            await asyncio.sleep(0)
        for name, item in value.items() if isinstance(value, dict) else (("", item) for item in value):
            size += len(name) + _BYTES_AROUND_A_VALUE
            if isinstance(item, dict | list):
                waiting.append(item)
            elif isinstance(item, str):
                if name == "file_data":  # may be a document of many pages
                    tokens += max(_TOKENS_OF_A_FILE, len(item) // _FILE_BYTES_PER_TOKEN)
                elif name == "data" or item.startswith("data:"):
                    tokens += _TOKENS_OF_A_FILE
                else:
                    size += len(item) if item.isascii() else len(item.encode("utf-8", "replace"))
    return tokens + -(-size // _BYTES_PER_TOKEN)


def _check_tools(given: Mapping[str, Any], allowed: frozenset[str]) -> None:
    for tool in _objects(given.get("tools", []), "tools"):
        if tool.get("type") not in allowed:
            raise InvalidRequestError(f"tools of the type {str(tool.get('type'))[:100]!r} are not allowed")
    choice = given.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") not in allowed | {"allowed_tools"}:
        raise InvalidRequestError(f"the tool_choice {str(choice.get('type'))[:100]!r} is not allowed")


def _check_include(include: Any) -> None:
    for name in include if isinstance(include, list) else [include]:
        if not isinstance(name, str) or name not in _INCLUDES:
            raise InvalidRequestError(f"include: {str(name)[:100]!r} is not allowed")


def _check_items(items: list[Any]) -> None:
    for item in _objects(items, "input"):
        kind = item.get("type", "message" if "role" in item else "item_reference")
        if kind not in _ITEMS:
            raise InvalidRequestError(f"input: items of the type {str(kind)[:100]!r} are not allowed")
        for name in ("content", "output", "summary"):
            _check_parts(item.get(name), "input")


def _check_parts(content: Any, where: str) -> None:
    if not isinstance(content, list):
        return
    for part in _objects(content, where):
        if part.get("type") not in _PARTS:
            raise InvalidRequestError(f"{where}: content of the type {str(part.get('type'))[:100]!r} is not allowed")
        for holder in (part, part.get("file"), part.get("image_url")):
            if isinstance(holder, dict) and holder.get("file_id") is not None:
                raise InvalidRequestError(f"{where}: the field 'file_id' is not allowed: send the content of the file")


def _objects(values: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise InvalidRequestError(f"the field {name!r} is a list of objects")
    return values


def _bound_output(path: str, given: dict[str, Any], limit: int, default: int) -> None:
    names = [name for name in _OUTPUT_LIMITS[path] if name in given]
    for name in names:
        tokens = given[name]
        if not isinstance(tokens, int) or isinstance(tokens, bool) or not 0 < tokens <= limit:
            raise InvalidRequestError(f"the field {name!r} is a number of tokens from 1 to {limit}")
    if not names:
        given[_OUTPUT_LIMITS[path][0]] = default
