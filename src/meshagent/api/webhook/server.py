"""Receiving webhooks: an HTTP server with a handler per event (protocol 15.6)."""

from __future__ import annotations

import logging
import os
import time
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

from meshagent.api.errors import (
    InvalidRequestError,
    InvalidStateError,
    LimitExceededError,
    NotFoundError,
    UnavailableError,
)
from meshagent.api.profile import find_credentials
from meshagent.api.webhook.events import CallEvent, RoomEndedEvent, RoomStartedEvent, read_event
from meshagent.api.webhook.signals import wait_for_stop_signal
from meshagent.api.webhook.signature import (
    EVENT_ID_HEADER,
    RESEND_HEADER,
    SIGNATURE_HEADER,
    SignatureRefusedError,
    parse,
    verify,
)

__all__ = ["WebhookServer", "environment_port", "ok"]

log = logging.getLogger(__name__)

DEFAULT_HOST: Final = "0.0.0.0"  # noqa: S104 - a webhook comes from another machine
MAX_BODY_BYTES: Final = 8 * 1024 * 1024
REMEMBERED_EVENTS: Final = 1024


class WebhookServer:
    """An HTTP server for webhooks; override `on_room_started`, `on_room_ended` and `on_call`.

    Use it as an async context manager, or call `run`. The sender is answered when the
    handler has returned; if it raises, the answer is an error and the sender may retry. An event that was handled is
    not handled again when it is delivered again, if the sender gives events an id.

    Args:
        host: Address to listen on; every interface by default.
        port: Port to listen on; `MESHAGENT_PORT` or 8080 by default. 0 takes a free one, see `port`.
        webhook_secret: Checks signatures; by default `MESHAGENT_WEBHOOK_SECRET`, else the secret that this program
            signs its tokens with, which is what a server signs webhooks with unless it is told otherwise.
        app: An application to add the route to, instead of a server of its own.
        path: The path of the webhook; `/webhook` by default.
        validate_webhook_secret: Whether to refuse requests that are not signed with the secret; true by default.
    """

    def __init__(
        self,
        *,
        host: str | None = None,
        port: int | str | None = None,
        webhook_secret: str | None = None,
        app: web.Application | None = None,
        path: str | None = None,
        validate_webhook_secret: bool | None = None,
    ) -> None:
        self.host = host if host is not None else DEFAULT_HOST
        self.port = int(port) if port is not None else environment_port(8080)
        self.webhook_secret = webhook_secret or _default_secret()
        self.path = path if path is not None else "/webhook"
        self.validate_webhook_secret = validate_webhook_secret is not False
        self._shares_app = app is not None
        self._app = app if app is not None else web.Application(client_max_size=MAX_BODY_BYTES)
        self._has_routes = False
        self._runner: web.AppRunner | None = None
        self._seen = _SeenEvents(REMEMBERED_EVENTS)

    @property
    def app(self) -> web.Application:
        """The application that receives the webhooks."""
        return self._app

    # -- for subclasses

    def add_routes(self, app: web.Application) -> None:
        """Add the routes to an application. Override it to add more, and call `super()`."""
        app.router.add_post(self.path, self._receive)
        if not self._shares_app:
            app.router.add_get("/", _alive)

    async def on_webhook(self, *, payload: dict[str, Any]) -> None:
        """Called with each webhook whose signature is valid; calls the handler of its event, if there is one.

        Raises:
            InvalidRequestError: The event lacks something.
        """
        data = payload.get("data")
        event = read_event(str(payload.get("event")), data if isinstance(data, dict) else {})
        if isinstance(event, RoomStartedEvent):
            await self.on_room_started(event)
        elif isinstance(event, RoomEndedEvent):
            await self.on_room_ended(event)
        elif isinstance(event, CallEvent):
            await self.on_call(event)

    async def on_room_started(self, event: RoomStartedEvent) -> None:
        """Called when a room has started."""

    async def on_room_ended(self, event: RoomEndedEvent) -> None:
        """Called when a room has ended."""

    async def on_call(self, event: CallEvent) -> None:
        """Called when a room asks this program to join."""

    # -- running

    async def start(self) -> None:
        """Start listening. With `app`, only add the routes to it; it must not be running.

        Raises:
            InvalidStateError: It is already started.
            OSError: Cannot listen on the address.
        """
        if self._runner is not None or (self._shares_app and self._has_routes):
            raise InvalidStateError("the webhook server is already started")
        if not self._has_routes:
            self.add_routes(self._app)
            self._has_routes = True
        if not self._shares_app:
            self._runner, self.port = await listen(self._app, self.host, self.port)

    async def stop(self) -> None:
        """Finish running requests and stop listening; does nothing if it was not started."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
            # aiohttp cannot start an application again.
            self._app = web.Application(client_max_size=MAX_BODY_BYTES)
            self._has_routes = False

    async def run(self) -> None:
        """Serve until SIGINT, SIGTERM or SIGABRT; off the main thread, until cancelled."""
        await self.start()
        try:
            await wait_for_stop_signal()
        finally:
            await self.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    # -- receiving

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            payload = self._verified_payload(body, request.headers.get(SIGNATURE_HEADER))
        except SignatureRefusedError as error:
            return _refuse(401, str(error))
        except InvalidRequestError as error:
            return _refuse(400, str(error))
        event_id = _event_key(request.headers.get(EVENT_ID_HEADER), request.headers.get(RESEND_HEADER))
        if not self._seen.begin(event_id):
            return ok() if self._seen.is_handled(event_id) else _refuse(503, "this event is being handled")
        handled = False
        try:
            await self.on_webhook(payload=payload)
            handled = True
        except InvalidRequestError as error:
            return _refuse(400, str(error))
        except (LimitExceededError, UnavailableError) as error:
            return _refuse(503, str(error))
        except Exception:
            log.exception("handler of webhook %r failed", payload.get("event"))
            return _refuse(500, "the handler failed")
        finally:
            self._seen.end(event_id, handled=handled)
        return ok()

    def _verified_payload(self, body: bytes, signature: str | None) -> dict[str, Any]:
        payload = parse(body)
        if not isinstance(payload, dict):
            raise InvalidRequestError("the body must be a JSON object")
        if self.validate_webhook_secret:
            verify(body, signature, self.webhook_secret, now=time.time())
        return payload


def _event_key(event_id: str | None, resend: str | None) -> str | None:
    """What stands for one event, and for one time that somebody asked to send it again."""
    return event_id if event_id is None or resend is None else f"{event_id} {resend}"


class _SeenEvents:
    """The ids of events that were or are being handled; the oldest are forgotten first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._handled: dict[str, bool] = {}

    def begin(self, event_id: str | None) -> bool:
        """Whether to handle the event; False if it was or is being handled. Events without an id are always handled."""
        if event_id is None:
            return True
        if event_id in self._handled:
            return False
        self._handled[event_id] = False
        while len(self._handled) > self._limit:
            del self._handled[next(iter(self._handled))]
        return True

    def is_handled(self, event_id: str | None) -> bool:
        return event_id is not None and self._handled.get(event_id, False)

    def end(self, event_id: str | None, *, handled: bool) -> None:
        if event_id is None:
            return
        if handled:
            self._handled[event_id] = True
        else:
            self._handled.pop(event_id, None)


async def listen(app: web.Application, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Serve an application; returns its runner and the port, also if `port` is 0."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except BaseException:
        await runner.cleanup()
        raise
    return runner, int(runner.addresses[0][1])


def environment_port(default: int) -> int:
    """`MESHAGENT_PORT`, else `default`.

    Raises:
        InvalidRequestError: The variable is not a number.
    """
    text = os.environ.get("MESHAGENT_PORT") or str(default)
    if not text.isascii() or not text.isdigit():
        raise InvalidRequestError(f"MESHAGENT_PORT must be a port number, not {text!r}")
    return int(text)


def ok() -> web.Response:
    """The response to an accepted request: `{"ok": true}`."""
    return web.json_response({"ok": True})


def _refuse(status: int, reason: str) -> web.Response:
    return web.json_response({"ok": False, "error": reason}, status=status)


async def _alive(request: web.Request) -> web.Response:
    return ok()


def _default_secret() -> str | None:
    """The secret that the server of this profile signs webhooks with, as far as it is known here."""
    secret = os.environ.get("MESHAGENT_WEBHOOK_SECRET")
    if secret:
        return secret
    try:
        return find_credentials().secret
    except (NotFoundError, InvalidRequestError):
        return None
