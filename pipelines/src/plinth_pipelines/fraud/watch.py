"""What is seen from outside of a platform that decides a stream: decisions, alerts and dead letters."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType

import msgspec
import numpy as np
from numpy.typing import NDArray

from plinth_contracts import codec
from plinth_contracts.events import AlertRaised, DecisionMade, Outcome, TransactionReceived
from plinth_kit.kafka import deadletter
from plinth_kit.kafka.message import Message, sent_at
from plinth_kit.kafka.ports import Broker

CLOCKS_DIFFER_S = 1.0
"""So far apart may the clocks of this machine and of the scorer's be."""
QUIET_POLLS = 6
"""After so many polls in a row that found nothing, 0.3 s, what was there before has been read."""
ALERT_PATIENCE_S = 5.0
"""So long the alerts of the last blocks are waited for."""
_DECISIONS, _ALERTS = codec.topic_of(DecisionMade), codec.topic_of(AlertRaised)
_REFUSALS = codec.topic_of(TransactionReceived) + deadletter.SUFFIX
_decode = codec.decoder(DecisionMade)
_decode_alert = codec.decoder(AlertRaised)


@dataclass
class Watch:
    """What has been sent and what came back. `latencies` are seconds from produce to decision consumed.

    `began` is Unix time. `refused` has the transactions that became dead letters, and why. `earlier` counts
    transactions that had been decided before this stream began, `repeated` decisions of this stream that
    came again.
    """

    sent: int = 0
    labels: int = 0
    alerted: set[str] = field(default_factory=set)
    stream_ms: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    scores: dict[str, float] = field(default_factory=dict)
    outcome_of: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    let_through: int = 0
    degraded: int = 0
    decision_ids: set[str] = field(default_factory=set)
    latencies: list[float] = field(default_factory=list)
    began: float = 0.0
    started: float = 0.0
    first_decision: float | None = None
    last_answer: float = 0.0
    earlier: int = 0
    repeated: int = 0

    @property
    def decided(self) -> int:
        """Transactions of this stream decided so far, each counted once."""
        return len(self.scores)

    @property
    def alerts(self) -> int:
        """Alerts raised by decisions of this stream."""
        return len(self.alerted & self.decision_ids)

    @property
    def repeats(self) -> int:
        """Decisions that were not made for what was sent here, but before, and told again."""
        return self.earlier + self.repeated

    def percentiles(self, last: int | None = None) -> tuple[float, float]:
        """p50 and p99 of the latency in milliseconds, of the last so many decisions or of all."""
        values: NDArray[np.float64] = np.array(self.latencies[-last:] if last else self.latencies)
        if not len(values):
            return 0.0, 0.0
        p50, p99 = np.percentile(values, [50, 99]) * 1000
        return float(p50), float(p99)


class Watcher:
    """Fills a Watch in a thread of its own, from now until it is closed; its context closes it.

    Earlier messages, those of other streams and what cannot be read are left out.
    """

    def __init__(self, broker: Broker) -> None:
        self.watch = Watch(began=time.time())
        self._began = datetime.fromtimestamp(self.watch.began - CLOCKS_DIFFER_S, UTC)
        self._pending: dict[str, float] = {}
        self._silent: set[str] = set()  # decisions whose alert may be still to come
        self._lock, self._caught_up, self._closed = threading.Lock(), threading.Event(), threading.Event()
        self._consumer = broker.consumer(f"replay-{uuid.uuid4()}", [_DECISIONS, _ALERTS, _REFUSALS])
        self._pool = ThreadPoolExecutor(1, "watch")
        self._running = self._pool.submit(self._run)

    def wait(self, timeout: float) -> None:
        """Return when what was there before has been read, or after `timeout` seconds."""
        self._caught_up.wait(timeout)

    def expect(self, transaction_ids: Iterable[str]) -> None:
        """These are being sent now."""
        now = time.time()
        with self._lock:
            self._pending.update(dict.fromkeys(transaction_ids, now))

    def undecided(self) -> int:
        """How many that were sent are neither decided nor refused. Raises what ended the watching, if any."""
        if self._running.done():
            self._running.result()
        return len(self._pending)

    def oldest(self) -> str:
        """One that has waited longest; empty if none waits."""
        with self._lock:
            return next(iter(self._pending), "")

    def __enter__(self) -> Watcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._pool.shutdown()

    def _run(self) -> None:
        quiet = 0
        try:
            while not self._closed.is_set():
                messages = self._consumer.poll(2000, 0.05)
                quiet = 0 if messages or not self._consumer.assignment() else quiet + 1
                if quiet == QUIET_POLLS or (messages and all(sent_at(m) >= self._began for m in messages)):
                    self._caught_up.set()
                self._take(messages)
            until = time.monotonic() + ALERT_PATIENCE_S
            while self._silent - self.watch.alerted and (left := until - time.monotonic()) > 0:
                self._take(self._consumer.poll(2000, left))
        finally:
            self._caught_up.set()
            self._consumer.close()

    def _take(self, messages: Sequence[Message]) -> None:
        now = time.time()
        with self._lock:
            for message in messages:
                if sent_at(message) < self._began:
                    continue
                try:
                    if message.topic == _ALERTS:
                        self.watch.alerted.add(_decode_alert(message.value).prediction_id or "")
                    elif message.topic == _REFUSALS:
                        self._refused(message)
                    else:
                        self._decided(_decode(message.value), message, now)
                except msgspec.DecodeError:
                    continue

    def _decided(self, decision: DecisionMade, message: Message, now: float) -> None:
        watch = self.watch
        produced = self._pending.pop(decision.transaction_id, None)
        if produced is None or decision.transaction_id in watch.scores:
            watch.repeated += decision.transaction_id in watch.scores
            return
        watch.earlier += _made_at(message) < self._began
        watch.decision_ids.add(decision.decision_id)
        watch.scores[decision.transaction_id] = decision.score
        watch.outcomes[decision.outcome.value] += 1
        watch.outcome_of[decision.transaction_id] = decision.outcome.value
        if decision.outcome is Outcome.BLOCK:
            self._silent.add(decision.decision_id)
        watch.let_through += decision.let_through
        watch.degraded += bool(decision.degraded)
        watch.latencies.append(now - produced)
        watch.last_answer = time.monotonic()
        watch.first_decision = watch.first_decision or watch.last_answer

    def _refused(self, message: Message) -> None:
        """A dead letter keeps the headers of the original, whose event id is the transaction's."""
        headers = dict(message.headers)
        transaction_id = headers.get("ce_id", b"").decode(errors="replace")
        if self._pending.pop(transaction_id, None) is not None:
            self.watch.refused[transaction_id] = headers.get(deadletter.REASON, b"").decode(errors="replace")
            self.watch.last_answer = time.monotonic()


def _made_at(message: Message) -> datetime:
    """When a decision was made, which a repeated one keeps; without that header when it was sent."""
    made = dict(message.headers).get("ce_time")
    return datetime.fromisoformat(made.decode()) if made else sent_at(message)
