"""Static members of a group over a real broker: one that comes back disturbs nobody."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaException
from fixtures_kafka import MakeTopic

from plinth_kit.kafka.confluent import KafkaBroker

DEADLINE = 60.0


def test_a_member_that_comes_back_has_its_partitions_and_the_others_keep_theirs(
    kafka_bootstrap: str, make_topic: MakeTopic
) -> None:
    topic, group = make_topic(4), uuid.uuid4().hex
    revoked: list[str] = []
    stays = KafkaBroker(kafka_bootstrap, "stays", "stays").consumer(
        group, [topic], on_revoke=lambda: revoked.append("stays")
    )
    returns = KafkaBroker(kafka_bootstrap, "returns", "returns").consumer(group, [topic])
    _until(
        lambda: len(returns.assignment()) == len(stays.assignment()) == 2,
        lambda: stays.poll(1, 0.05),
        lambda: returns.poll(1, 0.05),
    )
    revoked.clear()
    before, kept = returns.assignment(), stays.assignment()
    returns.close()

    again = KafkaBroker(kafka_bootstrap, "returns", "returns").consumer(group, [topic])
    _until(lambda: bool(again.assignment()), lambda: stays.poll(1, 0.05), lambda: again.poll(1, 0.05))

    assert again.assignment() == before
    assert stays.assignment() == kept
    assert revoked == []
    again.close()
    stays.close()


def test_a_member_that_is_fenced_ends_instead_of_doing_nothing_for_ever(
    kafka_bootstrap: str, make_topic: MakeTopic
) -> None:
    """As after a broker was killed that had not yet written down the member's last joining."""
    topic, group = make_topic(2), uuid.uuid4().hex
    first = KafkaBroker(kafka_bootstrap, "one", "one").consumer(group, [topic])
    _until(lambda: bool(first.assignment()), lambda: first.poll(1, 0.05))
    second = KafkaBroker(kafka_bootstrap, "one", "one").consumer(group, [topic])
    _until(lambda: bool(second.assignment()), lambda: second.poll(1, 0.05))
    with pytest.raises(KafkaException, match="fenced"):
        _until(lambda: False, lambda: first.poll(1, 0.05))
    first.close()
    assert len(second.assignment()) == 2
    second.close()


def _until(condition: Callable[[], bool], *turns: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        for turn in turns:
            turn()
