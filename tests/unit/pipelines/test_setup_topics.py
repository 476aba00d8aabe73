from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from plinth_contracts.topics import TopicSpec
from plinth_pipelines.setup_topics import create_missing, create_when_there, plan

DAY_MS = 24 * 3_600_000


def spec(name: str, hours: int = 48, partitions: int = 6) -> TopicSpec:
    return TopicSpec(
        name=name,
        description="d",
        key="k",
        partitions=partitions,
        retention_hours=hours,
        producers=(),
        consumers=(),
        owner="o",
    )


class Broker:
    """An AdminClient whose topics and failures are given."""

    def __init__(self, present: set[str], failures: list[int], refused: dict[str, int]) -> None:
        self.present, self.failures, self.refused = present, failures, refused

    def list_topics(self, timeout: float) -> Any:
        if self.failures:
            raise KafkaException(KafkaError(self.failures.pop(0)))
        return SimpleNamespace(topics=dict.fromkeys(self.present))

    def create_topics(self, wanted: list[Any]) -> dict[str, Future[None]]:
        return {topic.topic: self._create(topic.topic) for topic in wanted}

    def _create(self, name: str) -> Future[None]:
        done: Future[None] = Future()
        if name in self.refused:
            done.set_exception(KafkaException(KafkaError(self.refused[name])))
        else:
            self.present.add(name)
            done.set_result(None)
        return done


def test_a_topic_and_its_dead_letters() -> None:
    topic, dead = plan([spec("a.b", hours=48)])
    assert (topic.topic, topic.num_partitions, topic.config["retention.ms"]) == ("a.b", 6, str(2 * DAY_MS))
    assert (dead.topic, dead.num_partitions, dead.config["retention.ms"]) == ("a.b.dlq", 1, str(30 * DAY_MS))


def test_dead_letters_are_kept_as_long_as_their_topic_if_that_is_longer() -> None:
    assert plan([spec("a.b", hours=24 * 60)])[1].config["retention.ms"] == str(60 * DAY_MS)
    assert [topic.config["retention.ms"] for topic in plan([spec("a.b", hours=-1)])] == ["-1", "-1"]


def test_only_what_is_missing_is_created_and_twice_is_harmless() -> None:
    broker = Broker({"a.b"}, [], {})
    assert create_missing(broker, plan([spec("a.b")])) == ["a.b.dlq"]
    assert create_missing(broker, plan([spec("a.b")])) == []


def test_a_topic_that_another_makes_at_the_same_time_is_fine() -> None:
    broker = Broker({"a.b"}, [], {"a.b.dlq": KafkaError.TOPIC_ALREADY_EXISTS})
    assert create_missing(broker, plan([spec("a.b")])) == []


def test_other_refusals_are_raised() -> None:
    broker = Broker({"a.b"}, [], {"a.b.dlq": KafkaError.POLICY_VIOLATION})
    with pytest.raises(KafkaException):
        create_missing(broker, plan([spec("a.b")]))


def test_a_broker_that_is_away_is_waited_for_until_the_deadline() -> None:
    broker = Broker(set(), [KafkaError._TRANSPORT, KafkaError._TRANSPORT], {})
    assert create_when_there(broker, plan([spec("a.b")]), 10.0, iter([1.0, 2.0]).__next__) == [
        "a.b",
        "a.b.dlq",
    ]
    away = Broker(set(), [KafkaError._TRANSPORT] * 2, {})
    with pytest.raises(KafkaException):
        create_when_there(away, plan([spec("a.b")]), 1.0, iter([0.5, 1.5]).__next__)


def test_a_broker_that_refuses_is_not_asked_again() -> None:
    broker = Broker(set(), [KafkaError.TOPIC_AUTHORIZATION_FAILED], {})
    with pytest.raises(KafkaException):
        create_when_there(broker, plan([spec("a.b")]), 10.0, iter([]).__next__)
