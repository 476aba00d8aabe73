"""Garbage over the wire at a running platform: every process lives on, and dead letters are counted."""

from __future__ import annotations

import socket
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from fixtures_platform import HOST, RunningPlatform, find_decision, is_ready, new_transaction, wait_until
from hostile_values import DECISION, LABEL_EVENT, TRANSACTION, UPDATE, Call, Hostile
from kafka_tail import Tail

from plinth_cli.config import load
from plinth_cli.platform import Platform

SERVICES = ("fraud-scorer-api", "fraud-scorer-worker", "fraud-scorer-recorder", "feature-store-engine")
FIELDS = {
    "transaction.received": TRANSACTION,
    "label.observed": LABEL_EVENT,
    "decision.made": DECISION,
    "feature.update": UPDATE,
}
PATIENCE_SECONDS = 120.0
_HEAD = b"POST /v1/decisions HTTP/1.1\r\nhost: x\r\n"
_HOP = b"POST /v1/decisions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
TRICKS = (
    b"",
    b"\x00" * 100,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET http://elsewhere/v1/cases HTTP/1.1\r\nhost: x\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nhost: x\r\nx: " + b"b" * 200_000 + b"\r\n\r\n",
    b"GET /livez HTTP/1.1\r\n" + b"x: y\r\n" * 20_000 + b"\r\n",
    b"GET /livez HTTP/1.1\r\nhost : x\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n",
    b"GET /%ff%00/\xff HTTP/1.1\r\nhost: x\r\n\r\n",
    _HEAD + b"content-length: 10\r\ncontent-length: 20\r\n\r\n{}",
    _HEAD + b"content-length: -5\r\n\r\n{}",
    _HEAD + b"content-length: 99999999999999999999999\r\n\r\n{}",
    _HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    _HEAD + b"content-length: 1000000\r\n\r\n{}",  # and no more
    _HEAD + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n{}",
    _HEAD + b"content-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x08\x00",
    _HOP + b"ffffffffffffffff\r\n{}",
    _HOP + b"-1\r\n{}",
    _HOP + b"2;x=y\r\n{}\r\n0\r\ntrailer: a\r\n\r\n",
    _HOP + b"1\r\n{\r\n1\r\n",
)


@pytest.fixture
def pids(platform: RunningPlatform) -> Iterator[dict[str, int]]:
    """Every service's process before the test; it is the same afterwards."""
    processes = Platform(load(platform.local_environ()))

    def now() -> dict[str, int]:
        states = processes.supervisor.states()
        return {name: states[name].pid for name in SERVICES}

    before = now()
    yield before
    assert now() == before
    assert all(is_ready(platform, name) for name in SERVICES)


@pytest.mark.usefixtures("pids")
def test_no_trick_of_the_protocol_makes_a_server_error(platform: RunningPlatform) -> None:
    for trick in TRICKS:
        for status in _statuses(_sent(platform, trick, trick)):
            assert status < 500, trick[:100]
        assert httpx.get(f"{platform.url('fraud-scorer-api')}/livez").status_code == 200


@pytest.mark.usefixtures("pids")
@pytest.mark.timeout(3_600)
def test_no_request_makes_a_server_error(platform: RunningPlatform, how_many: int) -> None:
    hostile, statuses = Hostile(2), Counter[int]()
    for _ in range(max(1, how_many // 20 // 20)):
        calls = [hostile.call() for _ in range(20)]
        answer = _sent(platform, *(_raw(platform, call) for call in calls))
        found = _statuses(answer)
        assert all(status < 500 for status in found), (calls, answer)
        statuses.update(found)
    assert {200, 401, 422} <= statuses.keys()
    sys.stdout.write(f"\n{statuses.total()} answers over the wire: {dict(sorted(statuses.items()))}\n")


@pytest.mark.usefixtures("pids")
@pytest.mark.timeout(1_800)
def test_garbage_within_bounds_becomes_dead_letters(platform: RunningPlatform, how_many: int) -> None:
    """One message in 20 is garbage; among it some that fill a message to the broker's limit."""
    hostile = Hostile(3)
    producer = Producer(
        {"bootstrap.servers": platform.bootstrap, "message.max.bytes": 1_040_000, "compression.type": "none"}
    )
    own, wrong = uuid.uuid4().hex[:8], Counter[str]()
    tail = Tail(platform.bootstrap, [f"{topic}.dlq" for topic in FIELDS])
    for n in range(max(4_000, how_many // 20)):
        topic = list(FIELDS)[n % len(FIELDS)]
        if n % (20 * len(FIELDS)) < len(FIELDS):
            huge = n % 1_600 < len(FIELDS) and n < 10_000
            value = b"\xff" * 1_030_000 if huge else hostile.noise()
            headers: dict[str, str | bytes | None] = {"traceparent": "y" * 5_000, "": None}
            wrong[topic] += 1
        else:
            value = _right(topic, n, own)
            headers = {"traceparent": "z" * 5_000 if n % 7 else "z" * 55}
        producer.produce(topic, value, b"\xff\x00%d" % (n % 50), headers=headers)
        producer.poll(0)
    assert producer.flush(PATIENCE_SECONDS) == 0

    def refused() -> Counter[str]:
        """Messages that a dead letter tells of; a reader that joins its group anew tells of some twice."""
        return Counter(topic.decode() for topic, _, _ in {_origin(letter) for letter in tail.rest()})

    wait_until(lambda: refused().total() >= wrong.total(), "dead letters", PATIENCE_SECONDS)
    _still_decides(platform)
    assert refused() == wrong
    tail.close()
    sys.stdout.write(f"\ndead letters over the wire: {dict(wrong)}\n")


@pytest.mark.timeout(600)
def test_too_much_garbage_stops_its_reader_and_nothing_of_it_is_committed(platform: RunningPlatform) -> None:
    """Documented in libs/kit: so many in a row say that the reader is at fault, and a person has to look."""
    processes = Platform(load(platform.local_environ()))
    topic, group, name = "decision.made", "fraud-scorer-recorder", "fraud-scorer-recorder"
    admin = AdminClient({"bootstrap.servers": platform.bootstrap})
    _still_decides(platform)
    wait_until(lambda: _behind(admin, platform, group, topic) == 0, "all is recorded", PATIENCE_SECONDS)
    letters = _end(platform, f"{topic}.dlq")
    producer = Producer({"bootstrap.servers": platform.bootstrap})
    for _ in range(300):
        producer.produce(topic, b"\xff", b"one key, so that they are in a row")
    assert producer.flush(PATIENCE_SECONDS) == 0

    log = processes.config.log / f"{name}.log"
    wait_until(
        lambda: "invalid messages in a row (limit 100)" in log.read_text(), "it says why", PATIENCE_SECONDS
    )
    processes.supervisor.stop(name)
    assert _behind(admin, platform, group, topic) >= 300
    assert _end(platform, f"{topic}.dlq") == letters

    with platform.client() as client:  # the others go on
        decided = client.post("/v1/decisions", json=new_transaction()).json()
    skipped = ConsumerGroupTopicPartitions(group, _ends(platform, topic))
    wait_until(lambda: _altered(admin, skipped), "a person passes over it", PATIENCE_SECONDS)
    processes.supervisor.start(name)
    wait_until(lambda: is_ready(platform, name), f"{name} is ready again", PATIENCE_SECONDS)
    assert decided["outcome"] == "approve"
    _still_decides(platform)


def _origin(letter: Any) -> tuple[bytes, bytes, bytes]:
    headers = dict(letter.headers())
    return headers["plinth_dlq_topic"], headers["plinth_dlq_partition"], headers["plinth_dlq_offset"]


def _altered(admin: AdminClient, to: ConsumerGroupTopicPartitions) -> bool:
    """Whether the group's offsets were moved; a static member is missed for ten seconds before."""
    from confluent_kafka import KafkaException

    try:
        done = admin.alter_consumer_group_offsets([to])[to.group_id].result(30)
    except KafkaException:
        return False
    return all(part.error is None for part in done.topic_partitions)


def _still_decides(platform: RunningPlatform) -> None:
    """A transaction sent now is decided and recorded."""
    transaction = new_transaction()
    with platform.client() as client:
        assert client.post("/v1/decisions", json=transaction).status_code == 200
        some_id = transaction["transaction_id"]
        wait_until(lambda: find_decision(client, some_id), "it is recorded", PATIENCE_SECONDS)


def _right(topic: str, n: int, own: str) -> bytes:
    """A value that its readers take. Ids and places in the log are new, so that it is not a repeat."""
    some = Hostile(n)
    fields = dict(FIELDS[topic])
    unique = [b'"%s-%d"' % (own.encode(), n)]
    for name in ("transaction_id", "decision_id", "label_id"):
        if name in fields:
            fields[name] = unique
    if topic == "feature.update":
        fields |= {
            "view": [b'"terminal_labels"'],
            "values": [b"[0,0]", b"[1,1]"],
            "event_id": [b"%d" % (n + 1)],
        }
    return some.body(fields, spoilt=0.0)


def _raw(platform: RunningPlatform, call: Call) -> bytes:
    """The request as bytes on the wire."""
    target = call.path + (b"?" + call.query if call.query else b"")
    quoted = b"".join(b"%%%02x" % c if c <= 32 or c >= 127 else bytes([c]) for c in target)
    lines = [b"%s %s HTTP/1.1" % (call.method.encode(), quoted), b"host: x", b"connection: close"]
    lines += [name + b": " + value for name, value in call.headers]
    if call.role:
        lines.append(b"x-api-key: " + platform.keys[call.role].encode())
    lines.append(b"content-length: %d" % len(call.body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + call.body


def _sent(platform: RunningPlatform, *requests: bytes) -> list[bytes]:
    """What comes back, each request on a connection of its own, all open at once."""
    open_ = []
    for request in requests:
        connection = socket.create_connection((HOST, platform.ports["fraud-scorer-api"]), timeout=10)
        with suppress(OSError):  # it may be refused before it is complete
            connection.sendall(request)
        open_.append(connection)
    return [_rest(connection) for connection in open_]


def _rest(connection: socket.socket) -> bytes:
    """All that the server says until it is silent for a second or hangs up."""
    parts, deadline = [], time.monotonic() + 10
    with connection, suppress(OSError):
        connection.settimeout(1.0)
        while time.monotonic() < deadline and (part := connection.recv(65_536)):
            parts.append(part)
            if b"\r\n\r\n" in parts[0]:
                connection.settimeout(0.05)
    return b"".join(parts)


def _statuses(answers: list[bytes]) -> list[int]:
    return [int(answer.split(b" ", 2)[1]) for answer in answers if answer.startswith(b"HTTP/1.1 ")]


def _ends(platform: RunningPlatform, topic: str) -> list[TopicPartition]:
    """Where the topic ends now, by partition."""
    consumer = Consumer({"bootstrap.servers": platform.bootstrap, "group.id": "hostile-ends"})
    try:
        parts = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        places = [TopicPartition(topic, part) for part in parts]
        for place in places:
            place.offset = consumer.get_watermark_offsets(place, timeout=30)[1]
        return places
    finally:
        consumer.close()


def _end(platform: RunningPlatform, topic: str) -> int:
    return sum(place.offset for place in _ends(platform, topic))


def _behind(admin: AdminClient, platform: RunningPlatform, group: str, topic: str) -> int:
    """Messages of the topic that the group has not committed."""
    ends = _ends(platform, topic)
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, part.partition) for part in ends])
    found = admin.list_consumer_group_offsets([asked])[group].result(30).topic_partitions
    committed = {part.partition: max(0, part.offset) for part in found}
    return sum(part.offset - committed.get(part.partition, 0) for part in ends)
