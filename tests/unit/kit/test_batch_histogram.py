"""The batch histogram says the same as prometheus_client's own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from plinth_kit.metrics import BatchHistogram

BUCKETS = (0.1, 0.5, 1.0)


@given(st.lists(st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 8.0]))))
def test_it_says_the_same_as_a_histogram_told_value_by_value(batches: list[list[float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = BatchHistogram("x_seconds", "Text.", buckets=BUCKETS, labels={"path": "http"}, registry=ours)
    other = Histogram("x_seconds", "Text.", ["path"], buckets=BUCKETS, registry=theirs).labels("http")
    for batch in batches:
        mine.observe(batch)
        for value in batch:
            other.observe(value)
    assert samples(ours) == samples(theirs)


def samples(registry: CollectorRegistry) -> list[str]:
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if "_created" not in line]
