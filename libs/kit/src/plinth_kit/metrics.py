"""A registry of metrics per process; nothing is registered globally."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector


def registry() -> CollectorRegistry:
    """A registry that already tells of the process itself: memory, CPU, file descriptors, collector."""
    created = CollectorRegistry()
    ProcessCollector(registry=created)
    PlatformCollector(registry=created)
    GCCollector(registry=created)
    return created
