"""Metrics of the HTTP server. Labels are route templates, never paths, so that their number stays small."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
UNMATCHED = "unmatched"

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_BOUNDS = (*map(floatToGoString, BUCKETS), "+Inf")


class _Seconds:
    """Requests per bucket, each counted in one bucket alone, and the sum of their seconds."""

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * len(_BOUNDS)
        self.total = 0.0


class HttpMetrics(Collector):
    """`plinth_http_requests_total{route,method,status}` and `plinth_http_request_seconds{route}`.

    Counts in plain integers of the one thread that serves, because locks and label look-ups of the client
    library would cost a tenth of a request; they become metrics when somebody asks.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests: dict[tuple[str, str, int], int] = {}
        self._seconds: dict[str, _Seconds] = {}
        registry.register(self)

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request; status 499 stands for a client that went away."""
        key = (route, method if method in _METHODS else "OTHER", status)
        self._requests[key] = self._requests.get(key, 0) + 1
        of_route = self._seconds.get(route)
        if of_route is None:
            of_route = self._seconds[route] = _Seconds()
        of_route.buckets[bisect_left(BUCKETS, seconds)] += 1
        of_route.total += seconds

    def collect(self) -> Iterator[Metric]:
        """The two metrics as of now."""
        requests = CounterMetricFamily(
            "plinth_http_requests", "Answered HTTP requests", labels=("route", "method", "status")
        )
        for (route, method, status), count in list(self._requests.items()):
            requests.add_metric((route, method, str(status)), count)
        yield requests
        seconds = HistogramMetricFamily(
            "plinth_http_request_seconds",
            "Seconds from the request's head to the end of the answer",
            labels=("route",),
        )
        for route, of_route in list(self._seconds.items()):
            counts = zip(_BOUNDS, accumulate(of_route.buckets), strict=True)
            seconds.add_metric((route,), [(bound, float(count)) for bound, count in counts], of_route.total)
        yield seconds
