"""`ServiceHost`: agents and tools behind one HTTP address, called into rooms (protocol 15.6)."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from aiohttp import web

from meshagent.api.errors import AlreadyExistsError, InvalidStateError, LimitExceededError, UnavailableError
from meshagent.api.hosting.calls import RunningCalls
from meshagent.api.hosting.paths import ServicePath, Startable
from meshagent.api.webhook.events import CallEvent
from meshagent.api.webhook.server import DEFAULT_HOST, MAX_BODY_BYTES, WebhookServer, environment_port, listen, ok
from meshagent.api.webhook.signals import wait_for_stop_signal

__all__ = ["ServiceHost"]

log = logging.getLogger(__name__)

ServiceClass = TypeVar("ServiceClass", bound=Callable[[], Any])


class ServiceHost:
    """An HTTP server that hosts agents and tools, each at its own path.

    A call (`room.call`) that is posted to a path is answered at once. Then an instance of the class at that path joins
    the room and works there until it receives the message `dismiss`, the connection ends, or the host stops. Calls
    run concurrently. `GET /` answers while the host is alive.

    Args:
        host: Address to listen on; `MESHAGENT_HOST`, else every interface.
        webhook_secret: If given, calls must be signed with it; an empty string stands for
            `MESHAGENT_WEBHOOK_SECRET`. Without it, calls are not checked.
        port: `MESHAGENT_PORT` or 8081 by default; 0 takes a free one; `port` holds it after the start.
        stop_grace: Seconds that services get to stop and leave when the host stops.
        max_calls: How many calls may run at a time; more are refused with status 503.
    """

    def __init__(
        self,
        *,
        host: str | None = None,
        webhook_secret: str | None = None,
        port: int | str | None = None,
        stop_grace: float = 10.0,
        max_calls: int = 1000,
    ) -> None:
        self.host = host if host is not None else os.environ.get("MESHAGENT_HOST") or DEFAULT_HOST
        self.port = int(port) if port is not None else environment_port(8081)
        self.webhook_secret = webhook_secret
        self.paths: list[ServicePath] = []
        self._stop_grace = stop_grace
        self._max_calls = max_calls
        self._runner: web.AppRunner | None = None
        self._accepting = False
        self._calls = RunningCalls()

    @property
    def running_calls(self) -> int:
        """The number of running calls."""
        return len(self._calls)

    # -- paths

    def path(self, path: str) -> Callable[[ServiceClass], ServiceClass]:
        """Host the decorated class at `path`; errors as `add_path`."""

        def add(cls: ServiceClass) -> ServiceClass:
            self.add_path(path=path, cls=cls)
            return cls

        return add

    def add_path(self, *, path: str, cls: Callable[[], Startable]) -> None:
        """Host `cls` at `path`, such as `/chat`; before the host is started.

        Raises:
            AlreadyExistsError: The path is already in use.
            InvalidStateError: The host is already started.
        """
        if self._runner is not None:
            raise InvalidStateError("paths must be added before the service host is started")
        path = path if path.startswith("/") else "/" + path
        if any(known.path == path for known in self.paths):
            raise AlreadyExistsError(f"path {path} is already in use")
        self.paths.append(ServicePath(path=path, cls=cls))

    # -- running

    async def start(self) -> None:
        """Start listening.

        Raises:
            InvalidStateError: The host is already started.
            OSError: Cannot listen on the address.
        """
        if self._runner is not None:
            raise InvalidStateError("the service host is already started")
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_get("/", _alive)
        for service in self.paths:
            await _CallReceiver(self, service, app).start()
        self._runner, self.port = await listen(app, self.host, self.port)
        self._accepting = True

    async def stop(self) -> None:
        """Refuse new calls, end running ones, and stop listening. Does nothing if the host was not started."""
        runner, self._runner = self._runner, None
        self._accepting = False
        try:
            await self._calls.stop(self._stop_grace)
        finally:
            if runner is not None:
                await runner.cleanup()

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

    def take_call(self, service: ServicePath, event: CallEvent) -> None:
        """Start a call in the background, as the HTTP address does.

        Raises:
            UnavailableError: The host is not running.
            LimitExceededError: `max_calls` calls are running.
        """
        if not self._accepting:
            raise UnavailableError("the service host is stopping")
        if len(self._calls) >= self._max_calls:
            raise LimitExceededError(f"the service host is busy with {self._max_calls} calls", limit=self._max_calls)
        self._calls.start(service, event)


class _CallReceiver(WebhookServer):
    """The webhook of one path, in the application of the host."""

    def __init__(self, host: ServiceHost, service: ServicePath, app: web.Application) -> None:
        super().__init__(
            app=app,
            path=service.path,
            webhook_secret=host.webhook_secret,
            validate_webhook_secret=host.webhook_secret is not None,
        )
        self._host = host
        self._service = service

    async def on_call(self, event: CallEvent) -> None:
        self._host.take_call(self._service, event)


async def _alive(request: web.Request) -> web.Response:
    return ok()
