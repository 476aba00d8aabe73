"""The counts of the HTTP server against the client library's own counter and histogram."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from plinth_kit.http_metrics import BUCKETS, HttpMetrics

_requests = st.tuples(
    st.sampled_from(["/v1/a", "unmatched"]),
    st.sampled_from(["GET", "POST", "BREW"]),
    st.sampled_from([200, 404, 499]),
    st.one_of(st.sampled_from(BUCKETS), st.floats(0.0, 20.0)),
)


def _lines(registry: CollectorRegistry) -> list[str]:
    """Sample lines sorted, without the creation times that only the library writes."""
    lines = generate_latest(registry).decode().splitlines()
    return sorted(line for line in lines if "_created" not in line)


@given(requests=st.lists(_requests))
def test_the_text_is_that_of_the_library(requests: list[tuple[str, str, int, float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    metrics = HttpMetrics(ours)
    counter = Counter(
        "plinth_http_requests_total", "Answered HTTP requests", ("route", "method", "status"), registry=theirs
    )
    text = "Seconds from the request's head to the end of the answer"
    histogram = Histogram("plinth_http_request_seconds", text, ("route",), buckets=BUCKETS, registry=theirs)
    for route, method, status, seconds in requests:
        metrics.observe(route, method, status, seconds)
        counter.labels(route, "OTHER" if method == "BREW" else method, status).inc()
        histogram.labels(route).observe(seconds)
    assert _lines(ours) == _lines(theirs)
