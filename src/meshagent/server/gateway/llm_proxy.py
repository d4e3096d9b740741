"""Language models for participants: an OpenAI-compatible API whose key is the participant token.

    /rooms/{room}/v1/…   chat/completions, responses, embeddings, models
    /openai/v1/…         the same, for tokens of any room

Requests go to the configured provider with the server's own key. Without a provider, a built-in model answers that
repeats what it is told, so that everything can be tried without a key.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Final

import aiohttp
from aiohttp import hdrs, web

from meshagent.api import jsontext
from meshagent.api.errors import (
    InvalidRequestError,
    InvalidStateError,
    NotFoundError,
    RequestTimeoutError,
    UnavailableError,
)
from meshagent.llm.scripted import ScriptedModel, echo
from meshagent.llm.scripted_http import ScriptedEndpoint
from meshagent.server.accounts.model_usage import ModelUsage, ModelUse
from meshagent.server.config import LlmSettings
from meshagent.server.gateway.auth import RoomAuthenticator, request_token
from meshagent.server.gateway.bodies import read_json
from meshagent.server.gateway.llm_budgets import Asker, BudgetExceededError, LlmBudgets, Reservation
from meshagent.server.gateway.llm_fields import checked_request, estimated_input, output_bound
from meshagent.server.gateway.llm_usage import LlmUsage, StreamFilter, Tokens, UsageSink, tokens_of
from meshagent.server.gateway.room_gateway import room_name_of
from meshagent.server.gateway.token_expiry import while_token_lasts
from meshagent.server.kernel.admission import Admission

__all__ = ["LlmProxyRoutes"]

log = logging.getLogger(__name__)

OPENAI_URL: Final = "https://api.openai.com/v1"
DEFAULT_MODEL: Final = "default"
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
MAX_MODEL_NAME: Final = 200
MAX_RETRY_AFTER: Final = 300
"""Seconds beyond which clients are told not to try again by themselves."""

PATHS: Final[Mapping[str, str]] = {
    "chat/completions": "POST",
    "responses": "POST",
    "embeddings": "POST",
    "models": "GET",
}
_PASSED_ON: Final = ("OpenAI-Beta",)
_PASSED_BACK: Final = (hdrs.CONTENT_TYPE, hdrs.RETRY_AFTER, "x-request-id")


class LlmProxyRoutes:
    """Serves language models; `start` before the first request and `close` after the last.

    Args:
        authenticator: Verifies the participant tokens.
        settings: The provider.
        usage: Where the use of models is kept; None keeps nothing.
        on_usage: Told what each answered request cost.
    """

    def __init__(
        self,
        authenticator: RoomAuthenticator,
        settings: LlmSettings,
        *,
        usage: ModelUsage | None = None,
        on_usage: UsageSink | None = None,
    ) -> None:
        self._authenticator = authenticator
        self._settings = settings
        self._on_usage = on_usage
        self._base_url = settings.base_url or (OPENAI_URL if settings.api_key is not None else None)
        self.budgets = LlmBudgets(settings, usage, is_free=self._base_url is None)
        self._built_in = ScriptedEndpoint(ScriptedModel(echo, keep_requests=0), name=settings.default_model)
        self._session: aiohttp.ClientSession | None = None
        self._under_way = 0

    def routes(self) -> list[web.RouteDef]:
        return [
            web.route("*", "/rooms/{room}/v1/{path:.+}", self.handle),
            web.route("*", "/openai/v1/{path:.+}", self.handle),
        ]

    async def start(self) -> None:
        """Be ready to reach the provider."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=30.0, sock_read=self._settings.timeout)
        connector = aiohttp.TCPConnector(limit=0)  # `max_concurrent_requests` is the limit
        self._session = aiohttp.ClientSession(timeout=timeout, connector=connector, auto_decompress=False)

    async def close(self) -> None:
        """Let go of the provider."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request of a participant. Beyond a budget the answer is a 429 as OpenAI's API gives it.

        Raises:
            PermissionDeniedError: A bad token, or one without the grant `llm` or for other models.
            NotFoundError: There is no such path.
            LimitExceededError: The request is too large.
            UnavailableError, RequestTimeoutError: The provider cannot be reached, or is silent.
        """
        path = request.match_info["path"]
        if PATHS.get(path) is None:
            raise NotFoundError(f"there is no {path!r} here: only {', '.join(PATHS)}")
        if PATHS[path] != request.method:
            raise web.HTTPMethodNotAllowed(request.method, [PATHS[path]])
        room, asker = self._admitted(request)
        asker.scope.require_llm()
        try:
            with self._one_more():
                if request.method == "GET":
                    return await self._list_models(request, asker)
                async with while_token_lasts(asker):
                    return await self._ask(request, path, asker, room)
        except BudgetExceededError as error:
            return _too_much(error)

    def _admitted(self, request: web.Request) -> tuple[str, Admission]:
        """For which room it is, and who asks: the room of the path, else the first that the token opens."""
        if "room" in request.match_info:
            room = room_name_of(request)
            return room, self._authenticator.admit(request, room)
        token = self._authenticator.verify(request_token(request))
        rooms = [str(grant.scope) for grant in token.grants if grant.name == "room"]
        room = rooms[0] if rooms else ""
        return room, self._authenticator.admit_token(token, room)

    @contextmanager
    def _one_more(self) -> Iterator[None]:
        limit = self._settings.max_concurrent_requests
        if self._under_way >= limit:
            raise BudgetExceededError(
                f"{limit} requests to models are under way already", limit=limit, kind="requests", retry_after=1.0
            )
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    # -- asking

    async def _ask(self, request: web.Request, path: str, asker: Admission, room: str) -> web.StreamResponse:
        model, body, tokens = await self._checked(
            path, await read_json(request, self._settings.max_request_bytes), asker
        )
        drop_usage_chunk = path == "chat/completions" and bool(body.get("stream")) and _ask_for_usage(body)
        content = jsontext.dumps(body)
        whose = Asker(project_id=asker.project_id, room_name=room, key_id=asker.key_id or "", participant=asker.name)
        with self.budgets.reserve(whose, model, tokens, on_use=partial(self._tell, asker)) as reservation:
            if self._base_url is None:
                await reservation.settle(Tokens(0, 0))
                return await self._built_in.answer(request, path, body)
            try:
                async with self._asked("POST", path, request, content) as upstream:
                    if upstream.status >= 300:
                        return await _refusal(upstream)
                    reservation.begin()
                    if upstream.content_type == "text/event-stream":
                        events = StreamFilter(drop_usage_chunk=drop_usage_chunk)
                        return await self._pass_stream(request, upstream, reservation, events)
                    data = await _bounded(upstream)
            except RequestTimeoutError:
                reservation.begin()  # it works on it, for all we know
                raise
            used = tokens_of(_json_or_none(data))
            guess = Tokens(reservation.tokens.input, min(len(data) // 4, reservation.tokens.output))
            await reservation.settle(used or guess, is_estimate=used is None)
        return web.Response(body=data, status=upstream.status, headers=_answer_headers(upstream))

    async def _checked(self, path: str, body: Any, asker: Admission) -> tuple[str, dict[str, Any], Tokens]:
        """The model, the request as it may go to the provider, and the most that it is about to use."""
        if not isinstance(body, dict):
            raise InvalidRequestError("the request is not a JSON object")
        model = body.get("model") or DEFAULT_MODEL
        if not isinstance(model, str) or len(model) > MAX_MODEL_NAME:
            raise InvalidRequestError(f"`model` is the name of a model, of up to {MAX_MODEL_NAME} characters")
        body["model"] = model = self._settings.default_model if model == DEFAULT_MODEL else model
        asker.scope.require_llm(model)
        most = self._settings.max_output_tokens
        input_tokens = await estimated_input(body)
        checked = checked_request(
            path,
            body,
            tools=self._settings.allowed_tools,
            max_output_tokens=most,
            default_output_tokens=self.budgets.bounded_output(most, input_tokens=input_tokens),
        )
        return model, checked, Tokens(input_tokens, output_bound(path, checked))

    async def _pass_stream(
        self,
        request: web.Request,
        upstream: aiohttp.ClientResponse,
        reservation: Reservation,
        events: StreamFilter,
    ) -> web.StreamResponse:
        """Relay events as they arrive. When the client disconnects, the request to the provider is cancelled."""
        response = web.StreamResponse(headers={**_answer_headers(upstream), hdrs.CACHE_CONTROL: "no-cache"})
        await response.prepare(request)
        try:
            async for chunk in upstream.content.iter_any():
                passed = events.feed(chunk)
                if events.ended:
                    await self._settle_stream(reservation, events)
                if passed:
                    await response.write(passed)
            rest = events.finish()
            await self._settle_stream(reservation, events)
            await response.write(rest)
            await response.write_eof()
        except ConnectionResetError:
            log.debug("a client went away before its answer was complete")
        except (aiohttp.ClientPayloadError, TimeoutError) as error:
            log.warning("the model provider broke off an answer: %s", error)
            if request.transport is not None:
                request.transport.close()  # the status is sent already: only a broken connection can tell the client
        finally:
            await self._settle_stream(reservation, events)
        return response

    async def _settle_stream(self, reservation: Reservation, events: StreamFilter) -> None:
        """Count a stream once: by what the provider said, else by the text that came."""
        if not reservation.is_settled:
            guess = Tokens(reservation.tokens.input, events.estimated_output())
            await reservation.settle(events.tokens or guess, is_estimate=events.tokens is None)

    async def _list_models(self, request: web.Request, asker: Admission) -> web.StreamResponse:
        """The provider's models, those that the token allows."""
        if self._base_url is None:
            return await self._built_in.answer(request, "models", None)
        async with self._asked("GET", "models", request) as upstream:
            if upstream.status >= 300:
                return await _refusal(upstream)
            listing = _json_or_none(await _bounded(upstream))
        allowed = None if asker.scope.llm is None else asker.scope.llm.models
        if allowed is not None and isinstance(listing, dict) and isinstance(listing.get("data"), list):
            models = [model for model in listing["data"] if isinstance(model, dict)]
            listing["data"] = [model for model in models if model.get("id") in allowed]
        return web.Response(body=jsontext.dumps(listing), content_type="application/json")

    @asynccontextmanager
    async def _asked(
        self, method: str, path: str, request: web.Request, body: bytes | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The provider's answer to one request, while it comes in."""
        if self._session is None:
            raise InvalidStateError("the proxy is not started")
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        headers |= {hdrs.CONTENT_TYPE: "application/json", hdrs.ACCEPT_ENCODING: "identity"}
        if self._settings.api_key is not None:
            headers[hdrs.AUTHORIZATION] = f"Bearer {self._settings.api_key.get_secret_value()}"
        try:
            async with self._session.request(
                method, f"{self._base_url}/{path}", data=body, headers=headers, allow_redirects=False
            ) as upstream:
                yield upstream
        except TimeoutError:
            raise RequestTimeoutError("the model provider did not answer in time") from None
        except aiohttp.ClientConnectorError as error:
            log.error("the model provider cannot be reached: %s", error)
            raise UnavailableError("the model provider cannot be reached") from None
        except aiohttp.ClientError as error:
            log.error("the model provider failed: %s", error)
            raise UnavailableError("the model provider broke off its answer") from None

    def _tell(self, asker: Admission, use: ModelUse) -> None:
        if self._on_usage is None:
            return
        usage = LlmUsage(
            project_id=asker.project_id,
            rooms=tuple(str(grant.scope) for grant in asker.token.grants if grant.name == "room"),
            participant=asker.name,
            model=use.model,
            input_tokens=use.input_tokens,
            output_tokens=use.output_tokens,
            cached_input_tokens=use.cached_input_tokens,
            cost=use.cost,
            is_estimate=use.is_estimate,
        )
        self._on_usage(usage)


def _too_much(error: BudgetExceededError) -> web.Response:
    """A refusal in the form that OpenAI's clients know. They try again by themselves, unless it is no use."""
    is_soon = error.retry_after is not None and error.retry_after <= MAX_RETRY_AFTER
    code = "rate_limit_exceeded" if is_soon else "insufficient_quota"
    content = {"error": {"message": str(error), "type": error.kind, "param": None, "code": code}}
    response = web.Response(body=jsontext.dumps(content), status=429, content_type="application/json")
    if error.retry_after is not None:
        response.headers[hdrs.RETRY_AFTER] = str(max(1, math.ceil(error.retry_after)))
    if not is_soon:
        response.headers["x-should-retry"] = "false"
    return response


def _ask_for_usage(body: dict[str, Any]) -> bool:
    """Ask the provider to report the usage of a stream; True if the client did not ask for that."""
    options = body.get("stream_options")
    options = options if isinstance(options, dict) else {}
    if options.get("include_usage"):
        return False
    body["stream_options"] = {**options, "include_usage": True}
    return True


async def _refusal(upstream: aiohttp.ClientResponse) -> web.Response:
    """The provider's error. One about the server's own key is replaced: participants cannot do anything about it."""
    if upstream.status in (401, 403, 407):
        log.error("the model provider refuses the server's key: status %s", upstream.status)
        raise UnavailableError("the model provider refuses this server's key; its operator has to see to that")
    if upstream.status < 400:
        log.error("the model provider is somewhere else: it redirects with status %s", upstream.status)
        raise UnavailableError("the model provider is somewhere else; the server's operator has to see to that")
    data = await _bounded(upstream)
    return web.Response(body=data, status=upstream.status, headers=_answer_headers(upstream))


async def _bounded(upstream: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for chunk in upstream.content.iter_any():
        data += chunk
        if len(data) > MAX_ANSWER_BYTES:
            raise UnavailableError(f"the model provider's answer has more than {MAX_ANSWER_BYTES} bytes")
    return bytes(data)


def _answer_headers(upstream: aiohttp.ClientResponse) -> dict[str, str]:
    return {name: upstream.headers[name] for name in _PASSED_BACK if name in upstream.headers}


def _json_or_none(data: bytes) -> Any:
    try:
        return jsontext.loads(data)
    except InvalidRequestError:
        return None
