"""Recording: decisions from Kafka's bytes to rows in a real Postgres, and the cases that some open."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import sqlalchemy as sql
from bench_report import Report
from prometheus_client import CollectorRegistry

from fraud_scorer.cases import Cases
from fraud_scorer.core.cases import EscalationPolicy
from fraud_scorer.ledger import Ledger
from fraud_scorer.ledger_metrics import CaseMetrics, LabelMetrics
from fraud_scorer.recorder import DECISIONS, RecordHandler
from plinth_contracts import codec
from plinth_contracts.events import DecisionMade, Outcome
from plinth_kit.kafka.message import Message

BATCH, BATCHES, CARDS = 2_000, 25, 5_000
START = datetime(2026, 3, 1, tzinfo=UTC)


def decisions(count: int, share: float, seed: int) -> list[DecisionMade]:
    """Decisions of which that share is not approved, over many cards."""
    rng = np.random.default_rng(seed)
    cards, amounts = rng.integers(0, CARDS, count), rng.integers(100, 50_000, count)
    strict = rng.choice([Outcome.MONITOR, Outcome.STEP_UP, Outcome.BLOCK], count)
    outcomes = np.where(rng.random(count) < share, strict, Outcome.APPROVE)
    return [
        DecisionMade(
            decision_id=f"d-{seed}-{n}",
            transaction_id=f"tx-{seed}-{n}",
            customer_id=f"{cards[n]}",
            terminal_id=f"{n % 997}",
            amount_minor=int(amounts[n]),
            event_ts=START + timedelta(milliseconds=n),
            outcome=Outcome(outcomes[n]),
            score=0.25,
        )
        for n in range(count)
    ]


def messages(made: Sequence[DecisionMade]) -> list[Message]:
    """As they lie in Kafka."""
    return [
        Message(DECISIONS, 0, n, decision.customer_id.encode(), codec.encode(decision), (), 0)
        for n, decision in enumerate(made)
    ]


def per_second(record: Callable[[list[Message]], object], batches: Sequence[list[Message]]) -> float:
    """Messages a second; the first two batches warm up."""
    for batch in batches[:2]:
        record(batch)
    start = time.perf_counter()
    for batch in batches[2:]:
        record(batch)
    return BATCH * (len(batches) - 2) / (time.perf_counter() - start)


@pytest.fixture
def ledger(postgres_url: str) -> Iterator[Ledger]:
    """An empty ledger in a database of its own."""
    name = f"recording_{uuid.uuid4().hex}"
    engine = sql.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sql.text(f"create database {name}"))
    engine.dispose()
    ledger = Ledger(f"{postgres_url.rpartition('/')[0]}/{name}")
    ledger.migrate()
    yield ledger
    ledger.close()


def test_the_ledger_alone(report: Report, ledger: Ledger) -> None:
    decode = codec.decoder(DecisionMade)
    batches = [messages(decisions(BATCH, 0.01, seed)) for seed in range(BATCHES + 2)]
    rate = per_second(lambda batch: ledger.record_decisions([decode(m.value) for m in batch]), batches)
    assert ledger.find(decision_id=f"d-0-{BATCH - 1}") is not None
    report.rate("decisions recorded without cases", rate)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1])
def test_recording(report: Report, ledger: Ledger, share: float) -> None:
    registry = CollectorRegistry()
    cases = Cases(ledger, EscalationPolicy(), lambda: str(uuid.uuid4()))
    handler = RecordHandler(ledger, LabelMetrics(registry), cases, CaseMetrics(registry), lambda: START)
    made = [decisions(BATCH, share, seed) for seed in range(BATCHES + 2)]
    rate = per_second(handler, [messages(batch) for batch in made])
    suspects = {d.customer_id for batch in made for d in batch if d.outcome is not Outcome.APPROVE}
    assert sum(tally.cases for tally in cases.backlog(START)) == len(suspects)
    report.rate(f"decisions recorded, {share:.0%} of them in cases", rate, target=10_000)
