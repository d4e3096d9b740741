"""Serves a scripted model over HTTP as an OpenAI-compatible API."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import web

from meshagent.api import jsontext
from meshagent.api.errors import InvalidRequestError, NotFoundError
from meshagent.llm.openai_replies import (
    CompletionsReply,
    ResponsesReply,
    read_completions_request,
    read_responses_request,
)
from meshagent.llm.scripted import Fail, ScriptedModel

__all__ = ["ScriptedEndpoint"]

_EMBEDDING_SIZE: Final = 8


class ScriptedEndpoint:
    """Serves `chat/completions`, `responses`, `embeddings` and `models` from a scripted model.

    Mount it with `add_routes(endpoint.routes("/v1"))`, or call `answer` from your own handler.

    Args:
        model: The model.
        name: Name of the model in `models`.
    """

    def __init__(self, model: ScriptedModel, *, name: str = "scripted") -> None:
        self._model = model
        self._name = name

    def routes(self, prefix: str = "/v1") -> list[web.RouteDef]:
        """Return the routes of the API under a prefix."""
        return [web.route("*", prefix + "/{path:.+}", self._handle)]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            body = jsontext.loads(await request.read()) if request.method == "POST" else {}
            return await self.answer(request, request.match_info["path"], body)
        except InvalidRequestError as error:
            return error_response(400, str(error))
        except NotFoundError as error:
            return error_response(404, str(error))

    async def answer(self, request: web.Request, path: str, body: Any) -> web.StreamResponse:
        """Answer one request whose body has been read and decoded.

        Raises:
            NotFoundError: There is no such path.
            InvalidRequestError: The body is malformed.
        """
        if request.method == "GET" and path == "models":
            model = {"id": self._name, "object": "model", "created": 0, "owned_by": "meshagent"}
            return json_response({"object": "list", "data": [model]})
        if request.method == "POST" and isinstance(body, dict):
            if path == "chat/completions":
                return await self._complete(request, body)
            if path == "responses":
                return await self._respond(request, body)
            if path == "embeddings":
                return json_response(_embeddings(body))
        raise NotFoundError(f"no such endpoint: {request.method} {path}")

    async def _complete(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        asked = read_completions_request(body)
        step = await self._model.step(asked)
        if isinstance(step, Fail):
            return error_response(step.status, step.message)
        return await self._send(request, CompletionsReply(asked, step), stream=bool(body.get("stream")), ends=True)

    async def _respond(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        asked = read_responses_request(body)
        step = await self._model.step(asked)
        if isinstance(step, Fail):
            return error_response(step.status, step.message)
        return await self._send(request, ResponsesReply(asked, step), stream=bool(body.get("stream")), ends=False)

    async def _send(
        self, request: web.Request, reply: CompletionsReply | ResponsesReply, *, stream: bool, ends: bool
    ) -> web.StreamResponse:
        if not stream:
            return json_response(reply.whole())
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await response.prepare(request)
        for name, event in reply.events():
            if self._model.delay:
                await asyncio.sleep(self._model.delay)
            head = b"" if name is None else f"event: {name}\n".encode()
            await response.write(head + b"data: " + jsontext.dumps(event) + b"\n\n")
        if ends:
            await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response


def json_response(body: Any, *, status: int = 200) -> web.Response:
    """Return a JSON response."""
    return web.Response(body=jsontext.dumps(body), content_type="application/json", status=status)


def error_response(status: int, message: str, code: str | None = None) -> web.Response:
    """Return an error response in the format that clients of these APIs expect."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return json_response({"error": {"message": message, "type": kind, "param": None, "code": code}}, status=status)


def _embeddings(body: dict[str, Any]) -> dict[str, Any]:
    """Return embeddings by letter frequency: enough for tests in which equal texts must match."""
    given = body.get("input")
    texts = [given] if isinstance(given, str) else list(given or ())
    return {
        "object": "list",
        "model": str(body.get("model")),
        "data": [{"object": "embedding", "index": n, "embedding": _vector(str(text))} for n, text in enumerate(texts)],
        "usage": {"prompt_tokens": len(texts), "total_tokens": len(texts)},
    }


def _vector(text: str) -> list[float]:
    vector = [0.0] * _EMBEDDING_SIZE
    for character in text.lower():
        vector[ord(character) % _EMBEDDING_SIZE] += 1.0
    length = sum(value * value for value in vector) ** 0.5 or 1.0
    return [value / length for value in vector]
