"""The engine over an in-memory broker and store: every event counts once, whatever dies in between."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from feature_store.consumer import UPDATES, EngineHandler
from feature_store.metrics import EngineMetrics
from plinth_contracts import codec, topics
from plinth_contracts.events import FeatureUpdate, LabelObserved, TransactionReceived
from plinth_features import spec
from plinth_features.rows import Layout
from plinth_features.store import MemoryRows, keys
from plinth_features.words import VERSION
from plinth_kit.kafka.memory import MemoryBroker
from plinth_kit.kafka.message import Handled, Message, Outgoing
from plinth_kit.kafka.runner import Runner

SERVICE = spec.load(Path(__file__).parents[3] / "feature_repo" / "compiled" / "fraud.json")
START = datetime(2018, 8, 1, tzinfo=UTC)
NOW_MS = round(datetime(2018, 10, 1, tzinfo=UTC).timestamp() * 1000)


def transaction(n: int, customer: int, *, days: int = 0) -> Outgoing:
    event = TransactionReceived(
        transaction_id=f"tx-{n}",
        customer_id=f"c-{customer}",
        terminal_id=f"t-{n % 2}",
        amount_minor=100 * (n + 1),
        event_ts=START + timedelta(days=days, minutes=n),
    )
    return Outgoing("transaction.received", event.customer_id.encode(), codec.encode(event))


def label(n: int, terminal: int, *, fraud: bool) -> Outgoing:
    event = LabelObserved(
        label_id=f"label-{n}",
        request_id=f"tx-{n}",
        entity_id="c-1",
        entities={"customer": "c-1", "terminal": f"t-{terminal}"},
        event_ts=START,
        known_ts=START + timedelta(days=7, minutes=n),
        label=float(fraud),
    )
    return Outgoing("label.observed", event.entity_id.encode(), codec.encode(event))


class Crash(Exception):
    pass


class Platform:
    """Broker and stores that outlive the engine; an engine can be killed after any number of batches."""

    def __init__(self) -> None:
        self.broker = MemoryBroker(partitions=6, now_ms=lambda: NOW_MS)
        layouts = {view.name: Layout(view) for view in SERVICE.views}
        self.stores = {name: (layout, MemoryRows(layout)) for name, layout in layouts.items()}
        self.registry = CollectorRegistry()

    def send(self, *outgoing: Outgoing) -> None:
        producer = self.broker.producer()
        producer.produce(outgoing)
        producer.flush(1.0)

    def handler(self) -> EngineHandler:
        """An engine that has just begun."""
        return EngineHandler(SERVICE.views, self.stores, topics.by_name(), EngineMetrics(CollectorRegistry()))

    def run(
        self, *, die_after: int | None = None, batch_size: int = 3, handler: EngineHandler | None = None
    ) -> None:
        """Until nothing is left to read, or until the crash: after effects, before the commit."""
        handler = handler or self.handler()
        idle = batches = 0

        def counted(batch: Sequence[Message]) -> Handled:
            nonlocal idle, batches
            idle = 0
            handled = handler(batch)
            batches += 1
            if die_after is not None and batches > die_after:
                raise Crash
            return handled

        runner = Runner(
            self.broker, "feature-store", handler.topics, counted, batch_size=batch_size, poll_timeout=0.0
        )

        def clock() -> float:
            nonlocal idle
            idle += 1
            if idle > 60:
                runner.stop()
            return idle * 0.001

        runner._clock = clock
        runner.run()

    def features(self, view: str, entity: str, at: datetime) -> dict[str, float]:
        layout, store = self.stores[view]
        values = layout.read(store.read([entity]), np.array([int(at.timestamp() * 1000)]))[0]
        return dict(zip([a.feature for a in layout.view.aggregations], values.tolist(), strict=True))

    def rows(self) -> dict[str, list[tuple[int, ...]]]:
        """All rows without the counter of writes, which depends on batches."""
        found = {}
        for view, (layout, store) in self.stores.items():
            entities = [f"{'c' if view.startswith('customer') else 't'}-{n}" for n in range(6)]
            rows = store.read(entities)
            rows[:, VERSION] = 0
            found[view] = [tuple(rows.tobytes())]
            assert layout.view.name == view
        return found


def test_transactions_reach_the_customer_row_and_labels_the_terminal_row() -> None:
    platform = Platform()
    platform.send(*(transaction(n, customer=1) for n in range(3)))
    platform.send(label(1, terminal=7, fraud=True), label(2, terminal=7, fraud=False))
    platform.run()
    spending = platform.features("customer_transactions", "c-1", START + timedelta(hours=1))
    assert spending["customer_tx_count_1d"] == 3
    assert spending["customer_amount_mean_1d"] == pytest.approx(2.0)
    risk = platform.features("terminal_labels", "t-7", START + timedelta(days=7, hours=1))
    assert risk["terminal_label_count_7d"] == 2
    assert risk["terminal_fraud_share_7d"] == 0.5


def test_a_message_that_is_no_event_becomes_a_dead_letter() -> None:
    platform = Platform()
    platform.send(Outgoing("transaction.received", b"c-1", b'{"transaction_id": 7}'), transaction(0, 1))
    platform.run()
    assert platform.features("customer_transactions", "c-1", START)["customer_tx_count_1d"] == 1
    consumer = platform.broker.consumer("test", ["transaction.received.dlq"])
    (dead,) = consumer.poll(10, 1.0)
    assert dead.value == b'{"transaction_id": 7}'


@pytest.mark.parametrize(
    "change",
    [{"view": "nobody's"}, {"values": (1, 2, 3)}, {"source_partition": 6}, {"values": (1, 2**63)}],
    ids=lambda change: next(iter(change)),
)
def test_an_update_that_does_not_fit_its_view_becomes_a_dead_letter(change: dict[str, Any]) -> None:
    fields = {
        "view": "terminal_labels",
        "entity": "t-1",
        "event_id": 5,
        "ts_ms": int(START.timestamp() * 1000),
        "weight": 1,
        "values": (1, 1),
        "source_partition": 0,
        "source_offset": 0,
    }
    platform = Platform()
    for n, update in enumerate((fields | change, fields)):
        event = FeatureUpdate(**(update | {"event_id": n + 1}))
        platform.send(Outgoing(UPDATES, b"t-1", codec.encode(event)))
    platform.run()
    (dead,) = platform.broker.consumer("test", [f"{UPDATES}.dlq"]).poll(10, 1.0)
    assert dead.key == b"t-1"
    assert platform.features("terminal_labels", "t-1", START)["terminal_label_count_1d"] == 1


@settings(max_examples=25, deadline=None)
@given(
    customers=st.lists(st.integers(0, 5), min_size=1, max_size=25),
    crashes=st.lists(st.integers(0, 6), max_size=4),
    batch_size=st.integers(1, 7),
)
def test_rows_after_crashes_equal_those_of_an_uninterrupted_run(
    customers: list[int], crashes: list[int], batch_size: int
) -> None:
    calm, rough = Platform(), Platform()
    for platform in (calm, rough):
        platform.send(*(transaction(n, customer) for n, customer in enumerate(customers)))
        platform.send(*(label(n, customer, fraud=n % 3 == 0) for n, customer in enumerate(customers)))
    calm.run()
    for after in crashes:
        try:
            rough.run(die_after=after, batch_size=batch_size)
        except Crash:
            continue
    rough.run(batch_size=batch_size)
    assert rough.rows() == calm.rows()


@settings(max_examples=25, deadline=None)
@given(
    rounds=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=12), min_size=2, max_size=4),
    batch_size=st.integers(1, 7),
)
def test_rows_of_a_store_that_is_emptied_again_and_again_are_rebuilt(
    rounds: list[list[int]], batch_size: int
) -> None:
    calm, rough = Platform(), Platform()
    handler = rough.handler()
    n = 0
    for customers in rounds:
        events = [transaction(n + at, customer) for at, customer in enumerate(customers)]
        events += [label(n + at, customer, fraud=at % 3 == 0) for at, customer in enumerate(customers)]
        n += len(customers)
        for platform in (calm, rough):
            platform.send(*events)
        rough.run(batch_size=batch_size, handler=handler)
        for _, store in rough.stores.values():
            store.clear()
    # Something of every partition, so that each is found to be lost.
    last = [transaction(n + c, c) for c in range(6)] + [label(n + c, c, fraud=True) for c in range(6)]
    for platform in (calm, rough):
        platform.send(*last)
    rough.run(batch_size=batch_size, handler=handler)
    calm.run()
    touched = {c for customers in rounds for c in customers} | set(range(6))
    for customer in touched:
        at = START + timedelta(hours=1)
        assert rough.features("customer_transactions", f"c-{customer}", at) == calm.features(
            "customer_transactions", f"c-{customer}", at
        )


def test_an_emptied_store_is_rebuilt_from_the_log() -> None:
    platform = Platform()
    platform.send(*(transaction(n, customer=n % 3) for n in range(20)))
    platform.run()
    before = platform.rows()
    for _, store in platform.stores.values():
        store.clear()
    platform.send(transaction(20, customer=2))
    platform.run()
    counted = platform.features("customer_transactions", "c-2", START + timedelta(hours=1))
    assert counted["customer_tx_count_1d"] == 7
    assert platform.rows() != before
    assert (
        UPDATES
        in EngineHandler(
            SERVICE.views, platform.stores, topics.by_name(), EngineMetrics(CollectorRegistry())
        ).topics
    )


def test_a_damaged_row_is_rebuilt_from_the_log() -> None:
    platform, undisturbed = Platform(), Platform()
    for one in (platform, undisturbed):
        one.send(*(transaction(n, customer=n % 3) for n in range(20)))
        one.run()
    layout, store = platform.stores["customer_transactions"]
    (key,) = keys(layout, ["c-2"])
    store._rows[key] = b"no row at all"
    for one in (platform, undisturbed):
        one.send(transaction(20, customer=2))
        one.run()
    assert platform.rows() == undisturbed.rows()


def test_an_event_from_a_distant_future_becomes_a_dead_letter_and_moves_no_window() -> None:
    platform = Platform()
    for number in range(40):
        platform.send(transaction(number, customer=2))
    platform.send(transaction(99, customer=2, days=300))
    platform.run()
    counted = platform.features("customer_transactions", "c-2", START + timedelta(hours=1))
    assert counted["customer_tx_count_1d"] == 40
    (letter,) = platform.broker.messages("transaction.received.dlq")
    assert b"more than a day" in dict(letter.headers)["plinth_dlq_reason"]
