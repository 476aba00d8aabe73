"""Every metric of the feature engine and its name."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from feature_store.service import Applied


class EngineMetrics:
    """Metrics of one engine process, by view."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str) -> Counter:
            return Counter(f"plinth_features_{name}", text, ["view"], registry=registry)

        self._applied = counter("applied", "Events folded into rows, each once")
        self._skipped = counter("skipped", "Events that had been folded before")
        self._conflicts = counter("conflicts", "Rows that another writer had changed in between")
        self._late = counter("late", "Events older than the tiles of their row, left out")
        self._newest = Gauge(
            "plinth_features_newest_event_seconds",
            "Time of the newest event folded, as Unix time; freshness is its distance to the stream's.",
            ["view"],
            registry=registry,
        )

    def applied(self, applied: Applied) -> None:
        """Count a batch of one view."""
        view = applied.view
        self._applied.labels(view).inc(applied.new)
        self._skipped.labels(view).inc(applied.skipped)
        self._conflicts.labels(view).inc(applied.conflicts)
        self._late.labels(view).inc(applied.late)
        self._newest.labels(view).set(applied.newest_ms / 1000)
