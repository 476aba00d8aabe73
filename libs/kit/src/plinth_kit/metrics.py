"""A registry of metrics per process; nothing is registered globally."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from threading import Lock

from prometheus_client import CollectorRegistry, Gauge, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container finds its limit: cgroups version 2, version 1."""
UNLIMITED_BYTES = 1 << 60
"""Version 1 writes a number of this size where there is no limit."""


def registry() -> CollectorRegistry:
    """A registry that already tells of the process itself: memory, CPU, file descriptors, collector."""
    created = CollectorRegistry()
    ProcessCollector(registry=created)
    PlatformCollector(registry=created)
    GCCollector(registry=created)
    limit = "Memory that this process's container may use; 0: no limit."
    Gauge("plinth_memory_limit_bytes", limit, registry=created).set(memory_limit(MEMORY_LIMITS))
    return created


def memory_limit(files: Iterable[Path]) -> int:
    """Bytes that the first of these files allows; 0 where none says a number."""
    for file in files:
        try:
            limit = int(file.read_text())
        except (OSError, ValueError):  # another version of cgroups, or `max`
            continue
        return limit if limit < UNLIMITED_BYTES else 0
    return 0


class BatchHistogram(Collector):
    """A histogram that is told of many values at once, at a tenth of what prometheus_client's takes for each.

    buckets: upper bounds in ascending order, without infinity. labels: the same for all values.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        *,
        buckets: Sequence[float],
        labels: Mapping[str, str] | None = None,
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._documentation = name, documentation
        self._bounds = tuple(buckets)
        self._labels = dict(labels or {})
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0
        self._lock = Lock()
        registry.register(self)

    def observe(self, values: Iterable[float]) -> None:
        """Count these values."""
        bounds, counts = self._bounds, self._counts
        with self._lock:
            for value in values:
                counts[bisect_left(bounds, value)] += 1
                self._sum += value

    def collect(self) -> Iterable[Metric]:
        """What the registry asks for."""
        with self._lock:
            counts, total = list(accumulate(self._counts)), self._sum
        family = HistogramMetricFamily(self._name, self._documentation, labels=list(self._labels))
        bounds = [*[str(float(bound)) for bound in self._bounds], "+Inf"]
        family.add_metric(list(self._labels.values()), list(zip(bounds, counts, strict=True)), total)
        return [family]
