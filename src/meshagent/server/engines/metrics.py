"""Figures of the engine processes, for `/metrics`."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from meshagent.server.engines.watch import REASONS
from meshagent.server.stores.tables.table_store import TableStore

__all__ = ["EngineMetrics"]


class EngineMetrics:
    """Reads the figures when somebody asks."""

    def __init__(self, tables: TableStore) -> None:
        self._tables = tables

    async def families(self) -> Sequence[Metric]:
        """The figures as they are now."""
        figures = self._tables.figures()
        losses = CounterMetricFamily(
            "meshagent_engine_losses", "Processes that crashed or were killed for passing a bound.", labels=["reason"]
        )
        for reason in REASONS:
            losses.add_metric([reason], figures.losses.get(reason, 0))
        return [
            GaugeMetricFamily("meshagent_engine_processes", "Table engine processes.", value=figures.processes),
            GaugeMetricFamily("meshagent_engine_memory_bytes", "Memory in use by them.", value=figures.memory_bytes),
            GaugeMetricFamily("meshagent_engine_calls", "Calls waiting for their answer.", value=figures.calls),
            CounterMetricFamily("meshagent_engine_starts", "Processes started.", value=figures.starts),
            losses,
        ]
