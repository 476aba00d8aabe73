"""The HTTP path: decisions asked for by a client in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import numpy as np
from bench_http_client import Job, Outcome
from bench_platform import Platform
from bench_report import Report

CLIENT = Path(__file__).with_name("bench_http_client.py")


def test_single(platform: Platform, report: Report, prefix: str, seconds: float) -> None:
    job = _job(platform, prefix, n=int(1_000 * seconds), connections=64)

    outcome = _run(job)

    report.rate("single decisions, 64 connections", job.n / outcome.elapsed, target=2_000)
    report.cost("latency p50 of these", _percentile(outcome, 50))
    report.cost("latency p99 of these", _percentile(outcome, 99))
    _assert_decided(job, outcome)


def test_single_paced(platform: Platform, report: Report, prefix: str, seconds: float) -> None:
    job = _job(platform, prefix, n=int(500 * seconds), rate=500, connections=64)

    outcome = _run(job)

    report.cost("latency p50 at 500/s", _percentile(outcome, 50))
    report.cost("latency p99 at 500/s", _percentile(outcome, 99), target=20.0)
    _assert_decided(job, outcome)


def test_batch(platform: Platform, report: Report, prefix: str, seconds: float) -> None:
    job = _job(platform, prefix, n=int(25 * seconds), batch=100, connections=4)

    outcome = _run(job)

    report.rate("decisions in batches of 100", job.n * job.batch / outcome.elapsed, target=10_000)
    report.cost("latency p99 of a batch", _percentile(outcome, 99))
    _assert_decided(job, outcome)


def _job(
    platform: Platform, prefix: str, *, n: int, connections: int, batch: int = 1, rate: float = 0.0
) -> Job:
    url = urlsplit(platform.scorer)
    key = platform.operator_key
    assert key
    return Job(
        host=url.hostname or "127.0.0.1",
        port=url.port or 80,
        key=key,
        prefix=prefix,
        n=n,
        batch=batch,
        rate=rate,
        connections=connections,
    )


def _run(job: Job) -> Outcome:
    """Let the client do the job; the key goes through its standard input, where no process list shows it."""
    done = subprocess.run(
        [sys.executable, str(CLIENT)], input=msgspec.json.encode(job), stdout=subprocess.PIPE, check=True
    )
    return msgspec.json.decode(done.stdout, type=Outcome)


def _percentile(outcome: Outcome, percent: float) -> float:
    return float(np.percentile(outcome.latencies, percent)) * 1000


def _assert_decided(job: Job, outcome: Outcome) -> None:
    assert outcome.wrong == []
    assert outcome.transactions == job.n * job.batch, "each decided, and for the first time"
