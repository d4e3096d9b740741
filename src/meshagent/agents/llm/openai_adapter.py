"""Adapters for OpenAI-compatible APIs: OpenAI, the room's model proxy, or any other server with that API."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

from meshagent.agents.llm.openai_requests import completions_request, responses_request
from meshagent.agents.llm.tool_loop import ToolLoopAdapter
from meshagent.api.errors import (
    InvalidRequestError,
    InvalidStateError,
    NotFoundError,
    PermissionDeniedError,
    RequestTimeoutError,
    RoomException,
    UnavailableError,
)
from meshagent.api.transport.protocol import ClientProtocol
from meshagent.llm.events import TextDelta, TextFinished, TextStarted
from meshagent.llm.model import Emit, ModelReply, ModelRequest, ModelSession, ToolCall, Usage

if TYPE_CHECKING:
    import openai

    from meshagent.api.room.client import RoomClient

__all__ = ["OpenAIAdapter", "OpenAICompletionsAdapter", "OpenAIResponsesAdapter"]

PROVIDER_DEFAULT_MODEL: Final = "gpt-5"
PROXY_DEFAULT_MODEL: Final = "default"
SESSION_HEADER: Final = "Meshagent-Session"


class OpenAIAdapter(ToolLoopAdapter):
    """Base class of the adapters for both APIs.

    Without `base_url` and `client`, requests go to the room's model proxy, `{room URL}/v1`, with the participant token
    as the key, so the agent needs no provider key.

    Args:
        model: Name of the model. Default: `OPENAI_MODEL` from the environment, else the server's default model if the
            room's proxy is used, else `gpt-5`.
        base_url: URL of the API, such as `http://localhost:11434/v1`.
        api_key: Key for the API; may be omitted for servers that need none.
        client: A client of the `openai` package to use instead; it is not closed.
        request_options: Additional members of each request, such as `{"temperature": 0}`.
        timeout: Seconds without a response after which a request fails.
        max_retries: Number of retries after temporary failures.
        max_steps, parallel_tool_calls: As in `ToolLoopAdapter`.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        client: openai.AsyncOpenAI | None = None,
        request_options: Mapping[str, Any] | None = None,
        timeout: float = 120.0,
        max_retries: int = 2,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._base_url = base_url
        self._api_key = api_key
        self._client = client
        self._request_options = dict(request_options or {})
        self._timeout = timeout
        self._max_retries = max_retries
        uses_proxy = base_url is None and client is None
        default_model = PROXY_DEFAULT_MODEL if uses_proxy else PROVIDER_DEFAULT_MODEL
        self._model = model or os.environ.get("OPENAI_MODEL") or default_model

    def default_model(self) -> str:
        return self._model

    @asynccontextmanager
    async def session(self, room: RoomClient) -> AsyncIterator[ModelSession]:
        if self._client is not None:
            yield self._session_of(self._client)
            return
        async with self._new_client(room) as client:
            yield self._session_of(client)

    @abstractmethod
    def _session_of(self, client: openai.AsyncOpenAI) -> ModelSession:
        """Return a session that uses this adapter's API through a client."""

    def _new_client(self, room: RoomClient) -> openai.AsyncOpenAI:
        import openai

        base_url = self._base_url or proxy_url(room)
        return openai.AsyncOpenAI(
            base_url=base_url,
            api_key=self._api_key or (_token(room) if self._base_url is None else "none"),
            default_headers={SESSION_HEADER: room.session_id} if self._base_url is None else None,
            timeout=self._timeout,
            max_retries=self._max_retries,
            # Without TLS there is nothing to verify, and loading the certificates dominates the cost of a client.
            http_client=openai.DefaultAsyncHttpxClient(verify=False) if base_url.startswith("http://") else None,
        )


class OpenAIResponsesAdapter(OpenAIAdapter):
    """Uses the Responses API; see `OpenAIAdapter`."""

    def _session_of(self, client: openai.AsyncOpenAI) -> ModelSession:
        return _ResponsesSession(client, self._request_options)


class OpenAICompletionsAdapter(OpenAIAdapter):
    """Uses the Chat Completions API, which nearly all model servers support; see `OpenAIAdapter`."""

    def _session_of(self, client: openai.AsyncOpenAI) -> ModelSession:
        return _CompletionsSession(client, self._request_options)


def proxy_url(room: RoomClient) -> str:
    """Return the URL of the room's model proxy: `http(s)://HOST/rooms/NAME/v1`."""
    return "http" + room.room_url.removeprefix("ws").removeprefix("http") + "/v1"


def _token(room: RoomClient) -> str:
    if not isinstance(room.protocol, ClientProtocol):
        raise InvalidStateError(
            "this connection has no participant token: pass `base_url` and `api_key` to the adapter"
        )
    return room.protocol.token


class _TextStream:
    """Collects streamed text and emits its events."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._current: str | None = None
        self.pieces: list[str] = []

    async def add(self, delta: str) -> None:
        if self._current is None:
            self._current = ""
            await self._emit(TextStarted())
        self._current += delta
        await self._emit(TextDelta(delta, self._current))

    async def end(self) -> None:
        """Finish the current piece, if there is one."""
        if self._current is not None:
            text, self._current = self._current, None
            self.pieces.append(text)
            await self._emit(TextFinished(text))


class _ResponsesSession:
    def __init__(self, client: openai.AsyncOpenAI, options: Mapping[str, Any]) -> None:
        self._client = client
        self._options = options

    async def complete(self, request: ModelRequest, emit: Emit) -> ModelReply:
        """See `ModelSession.complete`."""
        text = _TextStream(emit)
        calls: list[ToolCall] = []
        usage: Usage | None = None
        with _translated_errors():
            stream: Any = await self._client.responses.create(**{**responses_request(request), **self._options})
            async with stream:
                async for event in stream:
                    match event.type:
                        case "response.output_text.delta" | "response.refusal.delta":
                            await text.add(event.delta)
                        case "response.output_item.done":
                            await text.end()
                            if event.item.type == "function_call":
                                calls.append(ToolCall(event.item.call_id, event.item.name, event.item.arguments))
                        case "response.completed" | "response.incomplete":
                            if (used := event.response.usage) is not None:
                                usage = Usage(used.input_tokens, used.output_tokens)
                        case "response.failed":
                            error = event.response.error
                            raise UnavailableError(error.message if error is not None else "the model failed")
                        case "error":
                            raise UnavailableError(event.message)
        await text.end()
        return ModelReply(text.pieces, calls, usage)


class _CompletionsSession:
    def __init__(self, client: openai.AsyncOpenAI, options: Mapping[str, Any]) -> None:
        self._client = client
        self._options = options

    async def complete(self, request: ModelRequest, emit: Emit) -> ModelReply:
        """See `ModelSession.complete`."""
        text = _TextStream(emit)
        calls: dict[int, _PartialToolCall] = {}
        usage: Usage | None = None
        with _translated_errors():
            stream: Any = await self._client.chat.completions.create(
                **{**completions_request(request), **self._options}
            )
            async with stream:
                async for chunk in stream:
                    if chunk.usage is not None:
                        usage = Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
                    if not chunk.choices:
                        continue
                    delta = chunk.choices[0].delta
                    if added := delta.content or delta.refusal:
                        await text.add(added)
                    for part in delta.tool_calls or ():
                        calls.setdefault(part.index, _PartialToolCall()).add(part)
        await text.end()
        return ModelReply(text.pieces, [calls[index].complete_call() for index in sorted(calls)], usage)


class _PartialToolCall:
    """Assembles a tool call from its streamed parts."""

    def __init__(self) -> None:
        self._id = ""
        self._name = ""
        self._arguments: list[str] = []

    def add(self, part: Any) -> None:
        self._id = part.id or self._id
        if part.function is not None:
            self._name = self._name or part.function.name or ""
            self._arguments.append(part.function.arguments or "")

    def complete_call(self) -> ToolCall:
        return ToolCall(self._id, self._name, "".join(self._arguments))


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Translate exceptions of the `openai` client to RoomExceptions."""
    import openai

    try:
        yield
    except openai.OpenAIError as error:
        raise _translated(error) from error


def _translated(error: openai.OpenAIError) -> RoomException:
    import openai

    text = f"request to the model failed: {error}"
    match error:
        case openai.APITimeoutError():
            return RequestTimeoutError(text)
        case openai.AuthenticationError() | openai.PermissionDeniedError():
            return PermissionDeniedError(text)
        case openai.NotFoundError():
            return NotFoundError(text)
        case openai.BadRequestError() | openai.UnprocessableEntityError():
            return InvalidRequestError(text)
    return UnavailableError(text)
