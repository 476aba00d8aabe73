"""Commit policy, dead letters and their limit, metrics."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from plinth_kit.kafka.commit import IMMEDIATE, CommitPolicy, CommitState
from plinth_kit.kafka.deadletter import DeadLetterLimit, Tally, TooManyInvalid, dead_letter
from plinth_kit.kafka.message import Handled, Invalid, Message, Outgoing
from plinth_kit.kafka.metrics import PrometheusObserver

HEADERS = (("ce_type", b"transaction.received"), ("traceparent", b"00-1-2-01"))
MESSAGE = Message("transaction.received", 3, 42, b"\x00key", b"\xff not json", HEADERS, 1_700_000_000_000)


@pytest.mark.parametrize(
    ("pending", "now", "due"),
    [(0, 100.0, False), (1, 10.9, False), (1, 11.0, True), (99, 10.5, False), (100, 10.0, True)],
)
def test_a_commit_is_due_by_time_or_by_count_but_never_for_nothing(
    pending: int, now: float, due: bool
) -> None:
    state = CommitState(since=10.0).after(pending)
    assert CommitPolicy(every_seconds=1.0, every_messages=100).due(state, now) is due


def test_immediate_is_due_after_every_batch() -> None:
    assert IMMEDIATE.due(CommitState(5.0).after(1), 5.0)
    assert not IMMEDIATE.due(CommitState(5.0), 6.0)


def test_a_dead_letter_keeps_bytes_key_and_headers_and_says_where_and_why() -> None:
    letter = dead_letter(MESSAGE, "malformed JSON: Straße")
    assert (letter.topic, letter.key, letter.value) == (
        "transaction.received.dlq",
        b"\x00key",
        b"\xff not json",
    )
    assert letter.headers == (
        *HEADERS,
        ("plinth_dlq_topic", b"transaction.received"),
        ("plinth_dlq_partition", b"3"),
        ("plinth_dlq_offset", b"42"),
        ("plinth_dlq_reason", "malformed JSON: Straße".encode()),
    )


@pytest.mark.parametrize(("key", "kept"), [(b"k", b"k"), (b"k" * 20_000, None)])
def test_a_dead_letter_that_no_broker_would_take_is_cut_and_says_so(key: bytes, kept: bytes | None) -> None:
    message = Message("in", 0, 7, key, b"x" * 2_000_000, (("h", b"y" * 50_000),), 0)
    letter = dead_letter(message, "z" * 5_000)
    assert (letter.key, letter.value) == (kept, b"x" * 900_000)
    headers = dict(letter.headers)
    assert headers["plinth_dlq_cut"] == str(len(key) + 2_000_000 + 50_001).encode()
    assert (headers["plinth_dlq_offset"], len(headers["plinth_dlq_reason"])) == (b"7", 1_000)


def test_a_reason_may_hold_what_is_no_text() -> None:
    assert dict(dead_letter(MESSAGE, "half \ud800").headers)["plinth_dlq_reason"] == b"half ?"


LIMIT = DeadLetterLimit(max_share=0.1, max_consecutive=5, window=100)


def test_a_run_of_invalid_messages_counts_across_batches_and_ends_with_a_valid_one() -> None:
    tally = LIMIT.count(Tally(), 4, [2, 3])
    tally = LIMIT.count(tally, 3, [0, 1, 2])
    assert tally.consecutive == 5
    assert LIMIT.count(tally, 1, []).consecutive == 0
    with pytest.raises(TooManyInvalid, match="6 invalid messages in a row"):
        LIMIT.count(tally, 2, [0])


def test_a_run_inside_a_batch_counts_though_it_ends_there() -> None:
    with pytest.raises(TooManyInvalid, match="6 invalid messages in a row"):
        LIMIT.count(Tally(), 20, [3, 4, 5, 6, 7, 8])


def test_the_share_is_of_the_window_and_forgets_what_is_older() -> None:
    spread = [0, 5, 10, 15, 20, 25, 30, 35, 40, 45]
    tally = LIMIT.count(Tally(), 50, spread)  # 10 of 50 so far: within 10 % of the window of 100
    with pytest.raises(TooManyInvalid, match="11 of the last 60"):
        LIMIT.count(tally, 10, [1])
    tally = LIMIT.count(LIMIT.count(tally, 50, []), 50, [])
    assert LIMIT.count(tally, 50, [0]).consecutive == 0


def test_metrics_are_counted_per_topic_in_the_given_registry() -> None:
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry)
    handled = Handled([Outgoing("out", b"k", b"v")] * 3, [Invalid(MESSAGE, "why")])
    observer.handled([MESSAGE, MESSAGE], handled, 0.02)
    observer.committed({})
    observer.retrying("redis")
    observer.rewound({("transaction.received", 0)})
    topic = {"topic": "transaction.received"}
    assert registry.get_sample_value("plinth_kafka_consumed_total", topic) == 2
    assert registry.get_sample_value("plinth_kafka_produced_total", {"topic": "out"}) == 3
    assert registry.get_sample_value("plinth_kafka_invalid_total", topic) == 1
    assert registry.get_sample_value("plinth_kafka_commits_total") == 1
    assert registry.get_sample_value("plinth_kafka_retries_total", {"needs": "redis"}) == 1
    assert registry.get_sample_value("plinth_kafka_rewinds_total", topic) == 1
    assert registry.get_sample_value("plinth_kafka_handler_seconds_sum") == 0.02
    assert registry.get_sample_value("plinth_kafka_batch_messages_bucket", {"le": "2.0"}) == 1


def test_the_lag_of_a_partition_that_moved_away_is_no_longer_reported() -> None:
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry)
    observer.lag({("in", 0): 5, ("in", 1): 7})
    observer.lag({("in", 1): 6})
    value = registry.get_sample_value
    assert value("plinth_kafka_lag_messages", {"topic": "in", "partition": "0"}) is None
    assert value("plinth_kafka_lag_messages", {"topic": "in", "partition": "1"}) == 6
