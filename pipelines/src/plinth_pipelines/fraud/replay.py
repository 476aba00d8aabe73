"""Send a stream through Kafka and watch, from the outside, what the platform decides about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from plinth_kit.kafka.ports import Broker, DeliveryFailed
from plinth_pipelines.errors import PipelineError
from plinth_pipelines.fraud.stream import Item
from plinth_pipelines.fraud.watch import Watch, Watcher

CHUNK = 200
IN_FLIGHT = 1000
PATIENCE_S = 60.0
MAX_BEHIND_S = 3600.0
"""Stream seconds that features may be behind before more is sent: the hop of the shortest label window."""
BEHIND_PATIENCE_S = 10.0
"""So long the next chunk waits for features that do not catch up."""


class Stalled(PipelineError):
    """No decision came although some were owed."""


def replay(
    broker: Broker,
    items: Iterable[Item],
    *,
    speed: float = 0.0,
    in_flight: int = IN_FLIGHT,
    patience_s: float = PATIENCE_S,
    behind: Callable[[int], float] = lambda _: 0.0,
    observe: Callable[[Watch], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Watch:
    """Send every item and wait until each transaction is decided or refused.

    Labels of what was refused are left out. `speed` is stream seconds per second; 0 is as fast as the
    platform decides, with at most `in_flight` transactions undecided. `behind` says how many stream seconds
    features are behind a label of that time (milliseconds); more is sent when they are not far behind.
    `observe` is called a few times a second.
    Raises Stalled when nothing is decided for `patience_s`.
    """
    with Watcher(broker) as watcher:
        watcher.wait(patience_s)
        watch = watcher.watch
        watch.started = time.monotonic()
        producer = broker.producer()
        first_ms: int | None = None
        label_ms = 0
        shown = 0.0
        for chunk in _chunks(items, CHUNK):
            first_ms = chunk[0].ts_ms if first_ms is None else first_ms
            impatient = time.monotonic() + BEHIND_PATIENCE_S
            while not stop():
                now = time.monotonic()
                if now - shown > 0.25:
                    observe(watch)
                    shown = now
                _check(watcher, patience_s, now)
                early = speed and (chunk[0].ts_ms - first_ms) / 1000 / speed - (now - watch.started)
                waits = behind(label_ms) > MAX_BEHIND_S and now < impatient
                if watcher.undecided() < in_flight and early <= 0 and not waits:
                    break
                time.sleep(min(0.05, early) if early > 0 else 0.001)
            if stop():
                break
            wanted = [one for one in chunk if not (one.is_label and one.transaction_id in watch.refused)]
            sent = [item.transaction_id for item in wanted if not item.is_label]
            watcher.expect(sent)
            producer.produce([item.outgoing for item in wanted])
            watch.sent += len(sent)
            watch.labels += len(wanted) - len(sent)
            label_ms = max([label_ms, *[item.ts_ms for item in wanted if item.is_label]])
            watch.stream_ms = chunk[-1].ts_ms
        try:
            producer.flush(patience_s)
        except DeliveryFailed as error:
            raise Stalled(f"Kafka has not taken all that was sent: {error}") from error
        while watcher.undecided() and not stop():
            _check(watcher, patience_s, time.monotonic())
            observe(watch)
            time.sleep(0.05)
    observe(watch)
    return watch


def _check(watcher: Watcher, patience_s: float, now: float) -> None:
    undecided, watch = watcher.undecided(), watcher.watch
    if undecided and now - max(watch.last_answer, watch.started) > patience_s:
        raise Stalled(
            f"{undecided} of {watch.sent} transactions are undecided, first {watcher.oldest()!r}, and no"
            f" decision came for {patience_s:.0f} s; `plinth status` shows what is not running"
        )


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
