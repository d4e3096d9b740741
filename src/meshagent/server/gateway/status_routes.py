"""Routes for operators: `/healthz`, `/metrics`, and the greeting at `/`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from meshagent.api import jsontext
from meshagent.api.version import __version__
from meshagent.server.kernel.loop_watch import LoopWatch
from meshagent.server.rooms.handle import RoomFinder
from meshagent.server.stores.health import HealthMonitor
from meshagent.server.websocket.shell import WebSocketShell


class MetricSource(Protocol):
    """Has figures for operators."""

    async def families(self) -> Sequence[Metric]:
        """The figures as they are now."""
        ...


class ServerFigures:
    """Reads the server's figures when somebody asks, so that counting costs the hot path nothing."""

    def __init__(self, rooms: RoomFinder, shell: WebSocketShell, health: HealthMonitor) -> None:
        self._rooms = rooms
        self._shell = shell
        self._health = health
        self._started = time.time()

    async def families(self) -> list[Metric]:
        counts = await self._rooms.counts()
        return [
            _gauge("meshagent_rooms", "Rooms that run.", counts.rooms),
            _participants(counts.participants),
            _gauge("meshagent_connections", "Open WebSocket connections.", len(self._shell.sockets)),
            _gauge(
                "meshagent_buffered_bytes",
                "Bytes waiting to be sent.",
                sum(socket.buffered for socket in self._shell.sockets),
            ),
            _gauge("meshagent_start_time_seconds", "When the server started.", self._started),
            *self._health_metrics(),
        ]

    def _health_metrics(self) -> list[Metric]:
        healthy = GaugeMetricFamily("meshagent_component_healthy", "1 while a part works.", labels=["component"])
        failures = CounterMetricFamily("meshagent_component_failures", "Failures of a part.", labels=["component"])
        for name, component in self._health.components().items():
            healthy.add_metric([name], int(component.healthy))
            failures.add_metric([name], component.failures)
        return [healthy, failures]


class LoopFigures:
    """How long the event loop was held, and by what."""

    def __init__(self, watch: LoopWatch) -> None:
        self._watch = watch

    async def families(self) -> list[Metric]:
        watch = self._watch
        buckets = [("+Inf" if bound == float("inf") else str(bound), count) for bound, count in watch.histogram]
        turns = HistogramMetricFamily(
            "meshagent_loop_turn_seconds", "Turns of the event loop.", buckets=buckets, sum_value=watch.total_seconds
        )
        longest = GaugeMetricFamily(
            "meshagent_loop_longest_turn_seconds", "Longest turn within a minute.", labels=["operation"]
        )
        longest.add_metric([watch.recent_longest.operation], watch.recent_longest.seconds)
        worked = GaugeMetricFamily(
            "meshagent_loop_longest_turn_cpu_seconds",
            "CPU time of the turn with the most of it since the start.",
            labels=["operation"],
        )
        worked.add_metric([watch.longest_by_cpu.operation], watch.longest_by_cpu.cpu_seconds)
        lost = CounterMetricFamily(
            "meshagent_loop_lost_seconds", "Seconds in turns of 20 ms and more.", labels=["operation"]
        )
        for operation, seconds in watch.lost_seconds.items():
            lost.add_metric([operation], seconds)
        return [turns, longest, worked, lost]


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _participants(by_role: Mapping[str, int]) -> Metric:
    """Participants by role; roles that only a token knows count as `other`."""
    counts = {"user": 0, "agent": 0, "tool": 0, "other": 0}
    for role, count in by_role.items():
        counts[role if role in counts else "other"] += count
    metric = GaugeMetricFamily("meshagent_participants", "Participants in rooms, by role.", labels=["role"])
    for role, count in counts.items():
        metric.add_metric([role], count)
    return metric


class _Snapshot(Collector):
    """Figures that were read before, for the library that formats them."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


class StatusRoutes:
    """Serves health and metrics."""

    def __init__(self, health: HealthMonitor, sources: Sequence[MetricSource], *, metrics: bool) -> None:
        self._health = health
        self._sources = sources
        self._metrics = metrics

    def routes(self) -> list[web.RouteDef]:
        routes = [web.get("/", self.greeting), web.get("/healthz", self.healthz)]
        return [*routes, web.get("/metrics", self.metrics)] if self._metrics else routes

    async def greeting(self, request: web.Request) -> web.Response:
        """Answers as soon as the server runs; scripts of clients wait for it."""
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
        families = [family for source in self._sources for family in await source.families()]
        registry = CollectorRegistry()
        registry.register(_Snapshot(families))
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _json(content: object, *, status: int = 200) -> web.Response:
    return web.Response(body=jsontext.dumps(content), content_type="application/json", status=status)
