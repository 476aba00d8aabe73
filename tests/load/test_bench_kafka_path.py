"""The Kafka path: from a transaction produced to its decision consumed."""

from __future__ import annotations

import pytest
from bench_platform import Platform
from bench_report import Report
from bench_stream import flat_out, messages, paced

TARGET_RATE, TARGET_S, BACKLOG_RATE, BACKLOG = 10_000, 60.0, 15_000, 50_000
IN_FLIGHT = 2_000
WARM_UP_S = 2


@pytest.mark.parametrize(("rate", "p99_ms"), [(500, 50.0), (2_000, 50.0), (5_000, None), (10_000, 100.0)])
def test_paced(
    platform: Platform, report: Report, prefix: str, seconds: float, rate: int, p99_ms: float | None
) -> None:
    lasting = max(seconds, TARGET_S) if rate == TARGET_RATE else seconds
    load = messages(prefix, int(rate * (lasting + WARM_UP_S)))

    result = paced(platform.kafka, prefix, load, rate)

    p50, p99 = result.percentiles_ms(skip=rate * WARM_UP_S)
    report.cost(f"latency p50 at {rate:,} tx/s", p50)
    report.cost(f"latency p99 at {rate:,} tx/s", p99, target=p99_ms)
    report.cost(f"longest time without a decision at {rate:,} tx/s", result.widest_gap() * 1000)
    if rate == TARGET_RATE:
        report.rate(f"decided of {rate:,} tx/s sent for {lasting:.0f} s", result.throughput(), "tx/s", rate)
    assert result.decided_once()


def test_flat_out(platform: Platform, report: Report, prefix: str, seconds: float) -> None:
    load = messages(prefix, int(1.5 * TARGET_RATE * seconds))

    result = flat_out(platform.kafka, prefix, load, in_flight=IN_FLIGHT, seconds=seconds)

    p50, p99 = result.percentiles_ms()
    report.rate(f"decided live, {IN_FLIGHT:,} in flight", result.throughput(), "tx/s", TARGET_RATE)
    report.cost("latency p50 of these", p50)
    report.cost("latency p99 of these", p99, target=100.0)
    assert result.decided_once()


def test_backlog(platform: Platform, report: Report, prefix: str) -> None:
    load = messages(prefix, BACKLOG)

    result = flat_out(platform.kafka, prefix, load, in_flight=BACKLOG)

    report.rate(f"backlog of {BACKLOG:,} drained", result.throughput(), "tx/s", BACKLOG_RATE)
    assert result.decided_once()
