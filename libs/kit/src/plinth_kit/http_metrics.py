"""Metrics of the HTTP server. Labels are route templates, never paths, so that their number stays small."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
UNMATCHED = "unmatched"

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class HttpMetrics:
    """`plinth_http_requests_total{route,method,status}` and `plinth_http_request_seconds{route}`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "plinth_http_requests_total",
            "Answered HTTP requests",
            ("route", "method", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "plinth_http_request_seconds",
            "Seconds from the request's head to the end of the answer",
            ("route",),
            buckets=BUCKETS,
            registry=registry,
        )
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request; status 499 stands for a client that went away."""
        key = (route, method, status)
        counter = self._counters.get(key)
        if counter is None:
            known = method if method in _METHODS else "OTHER"
            counter = self._requests.labels(route, known, str(status))
            if known == method:
                self._counters[key] = counter
        counter.inc()
        histogram = self._histograms.get(route)
        if histogram is None:
            histogram = self._histograms[route] = self._seconds.labels(route)
        histogram.observe(seconds)
