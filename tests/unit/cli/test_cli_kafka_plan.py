"""Which topics are created, and what a dead letter is when it goes back."""

from __future__ import annotations

from types import SimpleNamespace

from plinth_cli.dead_letters import read
from plinth_cli.kafka_admin import NewTopic, plan
from plinth_contracts.topics import TopicSpec


def spec(name: str, hours: int) -> TopicSpec:
    return TopicSpec(
        name=name,
        description="d",
        key="id",
        partitions=6,
        retention_hours=hours,
        producers=("a",),
        consumers=("b",),
        owner="o",
    )


def test_every_topic_has_one_of_dead_letters_kept_at_least_30_days() -> None:
    assert plan([spec("a.b", 1), spec("c.d", 24 * 60), spec("e.f", -1)]) == [
        NewTopic("a.b", 6, {"cleanup.policy": "delete", "retention.ms": "3600000"}),
        NewTopic("a.b.dlq", 1, {"retention.ms": "2592000000"}),
        NewTopic("c.d", 6, {"cleanup.policy": "delete", "retention.ms": "5184000000"}),
        NewTopic("c.d.dlq", 1, {"retention.ms": "5184000000"}),
        NewTopic("e.f", 6, {"cleanup.policy": "delete", "retention.ms": "-1"}),
        NewTopic("e.f.dlq", 1, {"retention.ms": "-1"}),
    ]


def test_a_dead_letter_loses_its_own_headers_and_nothing_else() -> None:
    headers = [
        ("ce_id", b"1"),
        ("plinth_dlq_topic", b"a.b"),
        ("ce_id", b"\xff"),
        ("plinth_dlq_partition", b"3"),
        ("plinth_dlq_offset", b"41"),
        ("plinth_dlq_reason", b"not JSON"),
        ("empty", None),
    ]
    letter = read(7, SimpleNamespace(headers=headers, key=b"k", value=b"\x00\xff"), "a.b")
    assert letter.headers == (("ce_id", b"1"), ("ce_id", b"\xff"), ("empty", None))
    assert (letter.position, letter.topic, letter.partition, letter.offset) == (7, "a.b", 3, "41")
    assert (letter.key, letter.value, letter.reason) == (b"k", b"\x00\xff", "not JSON")


def test_a_dead_letter_without_origin_goes_where_it_was_asked_for() -> None:
    letter = read(0, SimpleNamespace(headers=[], key=None, value=None), "a.b")
    assert (letter.topic, letter.partition, letter.reason) == ("a.b", None, "unknown")
