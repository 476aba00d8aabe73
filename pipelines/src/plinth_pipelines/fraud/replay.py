"""Send a stream through Kafka and watch, from the outside, what the platform decides about it."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from plinth_contracts import codec
from plinth_contracts.events import AlertRaised, DecisionMade, TransactionReceived
from plinth_kit.kafka import deadletter
from plinth_kit.kafka.message import Message, sent_at
from plinth_kit.kafka.ports import Broker
from plinth_pipelines.fraud.stream import Item

CHUNK = 200
IN_FLIGHT = 1000
PATIENCE_S = 60.0
MAX_BEHIND_S = 3600.0
"""Stream seconds that features may be behind before more is sent: the hop of the shortest label window."""
BEHIND_PATIENCE_S = 10.0
"""So long the next chunk waits for features that do not catch up."""
CLOCKS_DIFFER_S = 1.0
"""So far apart may the clocks of this machine and of the scorer's be."""
QUIET_POLLS = 6
"""After so many polls in a row that found nothing, 0.3 s, what was there before has been read."""
ALERT_PATIENCE_S = 0.5
"""So long the alert of the last decision is waited for."""
_DECISIONS, _ALERTS = codec.topic_of(DecisionMade), codec.topic_of(AlertRaised)
_REFUSALS = codec.topic_of(TransactionReceived) + deadletter.SUFFIX
_decode = codec.decoder(DecisionMade)
_decode_alert = codec.decoder(AlertRaised)


class Stalled(Exception):
    """No decision came for a minute although some were owed. The message says which, for a person."""


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


def replay(
    broker: Broker,
    items: Iterable[Item],
    *,
    speed: float = 0.0,
    in_flight: int = IN_FLIGHT,
    behind: Callable[[int], float] = lambda _: 0.0,
    observe: Callable[[Watch], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Watch:
    """Send every item and wait until each transaction is decided or refused.

    `speed` is stream seconds per second; 0 is as fast as the platform decides, with at most `in_flight`
    transactions undecided. `behind` says how many stream seconds features are behind a label of that time
    (milliseconds); more is sent when they are not far behind. `observe` is called a few times a second.
    Raises Stalled.
    """
    watch = Watch(began=time.time())
    lock, watching, finished = threading.Lock(), threading.Event(), threading.Event()
    pending: dict[str, float] = {}
    watcher = threading.Thread(
        target=_watch, args=(broker, watch, pending, lock, watching, finished), name="watch", daemon=True
    )
    watcher.start()
    producer = broker.producer()
    watching.wait(PATIENCE_S)
    watch.started = time.monotonic()
    first_ms: int | None = None
    label_ms = 0
    shown = 0.0
    try:
        for chunk in _chunks(items, CHUNK):
            first_ms = chunk[0].ts_ms if first_ms is None else first_ms
            impatient = time.monotonic() + BEHIND_PATIENCE_S
            while not stop():
                now = time.monotonic()
                if now - shown > 0.25:
                    observe(watch)
                    shown = now
                _check(watch, pending, now)
                early = speed and (chunk[0].ts_ms - first_ms) / 1000 / speed - (now - watch.started)
                waits = behind(label_ms) > MAX_BEHIND_S and now < impatient
                if len(pending) < in_flight and early <= 0 and not waits:
                    break
                time.sleep(min(0.05, early) if early > 0 else 0.001)
            if stop():
                break
            produced = time.time()
            with lock:
                pending.update((item.transaction_id, produced) for item in chunk if item.transaction_id)
            producer.produce([item.outgoing for item in chunk])
            sent = sum(item.transaction_id is not None for item in chunk)
            watch.sent += sent
            watch.labels += len(chunk) - sent
            label_ms = max([label_ms, *[item.ts_ms for item in chunk if item.transaction_id is None]])
            watch.stream_ms = chunk[-1].ts_ms
        producer.flush(PATIENCE_S)
        while pending and not stop():
            _check(watch, pending, time.monotonic())
            observe(watch)
            time.sleep(0.05)
    finally:
        finished.set()
        watcher.join()
    observe(watch)
    return watch


def _check(watch: Watch, pending: dict[str, float], now: float) -> None:
    newest = max(watch.last_answer, watch.started)
    if pending and now - newest > PATIENCE_S:
        raise Stalled(
            f"{len(pending)} of {watch.sent} transactions are undecided, first {next(iter(pending), '')!r},"
            f" and no decision came for {PATIENCE_S:.0f} s; `plinth status` shows what is not running"
        )


def _watch(
    broker: Broker,
    watch: Watch,
    pending: dict[str, float],
    lock: threading.Lock,
    watching: threading.Event,
    finished: threading.Event,
) -> None:
    """Consume decisions, alerts and dead letters; earlier ones and those of other streams are left out.

    `watching` is set when what was there before has been read.
    """
    began = datetime.fromtimestamp(watch.began - CLOCKS_DIFFER_S, UTC)
    consumer = broker.consumer(f"replay-{uuid.uuid4()}", [_DECISIONS, _ALERTS, _REFUSALS])

    def take(messages: Sequence[Message]) -> None:
        now = time.time()
        with lock:
            for message in messages:
                if sent_at(message) < began:
                    continue
                if message.topic == _ALERTS:
                    watch.alerted.add(_decode_alert(message.value).prediction_id or "")
                elif message.topic == _REFUSALS:
                    _refuse(watch, pending, message)
                else:
                    _decide(watch, pending, message, now, began)

    quiet = 0
    try:
        while not finished.is_set():
            messages = consumer.poll(2000, 0.05)
            quiet = 0 if messages or not consumer.assignment() else quiet + 1
            if quiet == QUIET_POLLS:
                watching.set()
            take(messages)
        take(consumer.poll(2000, ALERT_PATIENCE_S))
    finally:
        consumer.close()


def _decide(watch: Watch, pending: dict[str, float], message: Message, now: float, began: datetime) -> None:
    decision = _decode(message.value)
    produced = pending.pop(decision.transaction_id, None)
    if produced is None or decision.transaction_id in watch.scores:
        watch.repeated += decision.transaction_id in watch.scores
        return
    watch.earlier += _made_at(message) < began
    watch.decision_ids.add(decision.decision_id)
    watch.scores[decision.transaction_id] = decision.score
    watch.outcomes[decision.outcome.value] += 1
    watch.outcome_of[decision.transaction_id] = decision.outcome.value
    watch.let_through += decision.let_through
    watch.degraded += bool(decision.degraded)
    watch.latencies.append(now - produced)
    watch.last_answer = time.monotonic()
    watch.first_decision = watch.first_decision or watch.last_answer


def _refuse(watch: Watch, pending: dict[str, float], message: Message) -> None:
    """A dead letter keeps the headers of the original, whose event id is the transaction's."""
    headers = dict(message.headers)
    transaction_id = headers.get("ce_id", b"").decode(errors="replace")
    if pending.pop(transaction_id, None) is not None:
        watch.refused[transaction_id] = headers.get(deadletter.REASON, b"").decode(errors="replace")
        watch.last_answer = time.monotonic()


def _made_at(message: Message) -> datetime:
    """When a decision was made, which a repeated one keeps; without that header when it was sent."""
    made = dict(message.headers).get("ce_time")
    return datetime.fromisoformat(made.decode()) if made else sent_at(message)


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
