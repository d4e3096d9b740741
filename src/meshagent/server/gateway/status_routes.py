"""What an operator looks at: `/healthz`, `/metrics`, and the greeting at `/`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from meshagent.api import jsontext
from meshagent.api.version import __version__
from meshagent.server.rooms.directory import RoomDirectory
from meshagent.server.stores.health import HealthMonitor
from meshagent.server.websocket.shell import WebSocketShell


class ServerCollector(Collector):
    """Reads the server's figures when somebody asks, so that counting costs the hot path nothing."""

    def __init__(self, directory: RoomDirectory[Any], shell: WebSocketShell, health: HealthMonitor) -> None:
        self._directory = directory
        self._shell = shell
        self._health = health
        self._started = time.time()

    def collect(self) -> Iterator[Metric]:
        rooms = self._directory.rooms
        yield GaugeMetricFamily("meshagent_rooms", "Rooms that run.", value=len(rooms))
        roles = GaugeMetricFamily("meshagent_participants", "Participants in rooms, by role.", labels=["role"])
        counts: dict[str, int] = {"user": 0, "agent": 0, "tool": 0, "other": 0}
        for room in rooms:
            for participant in room.participants.values():
                counts[participant.role if participant.role in counts else "other"] += 1
        for role, count in counts.items():
            roles.add_metric([role], count)
        yield roles
        sockets = self._shell.sockets
        yield GaugeMetricFamily("meshagent_connections", "Open WebSocket connections.", value=len(sockets))
        yield GaugeMetricFamily(
            "meshagent_buffered_bytes", "Bytes waiting to be sent.", value=sum(socket.buffered for socket in sockets)
        )
        yield GaugeMetricFamily("meshagent_start_time_seconds", "When the server started.", value=self._started)
        yield from self._health_metrics()

    def _health_metrics(self) -> Iterator[Metric]:
        healthy = GaugeMetricFamily("meshagent_component_healthy", "1 while a part works.", labels=["component"])
        failures = CounterMetricFamily("meshagent_component_failures", "Failures of a part.", labels=["component"])
        for name, component in self._health.components().items():
            healthy.add_metric([name], int(component.healthy))
            failures.add_metric([name], component.failures)
        yield healthy
        yield failures


class StatusRoutes:
    """Serves health and metrics."""

    def __init__(self, health: HealthMonitor, collectors: Iterable[Collector], *, metrics: bool) -> None:
        self._health = health
        self._metrics = metrics
        self._registry = CollectorRegistry()
        for collector in collectors:
            self._registry.register(collector)

    def routes(self) -> list[web.RouteDef]:
        routes = [web.get("/", self.greeting), web.get("/healthz", self.healthz)]
        return [*routes, web.get("/metrics", self.metrics)] if self._metrics else routes

    async def greeting(self, request: web.Request) -> web.Response:
        """Says that a server is here; clients' scripts wait for it."""
        return _json({"ok": True, "name": "openmeshagent", "version": __version__})

    async def healthz(self, request: web.Request) -> web.Response:
        """200 while every part works, else 503; each part with its last error and since when it fails."""
        components = {
            name: {
                "healthy": component.healthy,
                "failures": component.failures,
                "failing_since": component.failing_since.isoformat() if component.failing_since else None,
                "last_error": component.last_error,
            }
            for name, component in self._health.components().items()
        }
        healthy = self._health.healthy
        return _json({"ok": healthy, "components": components}, status=200 if healthy else 503)

    async def metrics(self, request: web.Request) -> web.Response:
        """Figures in the Prometheus text format."""
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _json(content: object, *, status: int = 200) -> web.Response:
    return web.Response(body=jsontext.dumps(content), content_type="application/json", status=status)
