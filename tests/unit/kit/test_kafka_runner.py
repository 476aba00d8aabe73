"""The runner over the memory broker: commits after effects, retries, dead letters, rewinds, stopping."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest

from plinth_kit.kafka.commit import IMMEDIATE, ONCE_PER_SECOND, CommitPolicy
from plinth_kit.kafka.deadletter import DeadLetterLimit, TooManyInvalid
from plinth_kit.kafka.memory import MemoryBroker, MemoryConsumer, MemoryProducer
from plinth_kit.kafka.message import (
    Handled,
    Handler,
    Invalid,
    Message,
    Outgoing,
    Partition,
    Rewind,
    Unavailable,
)
from plinth_kit.kafka.partitioner import partition_of
from plinth_kit.kafka.ports import Broker, CommitFailed, DeliveryFailed, DeliveryPending
from plinth_kit.kafka.runner import Runner

GROUP = "group"


def _send(broker: MemoryBroker, topic: str, values: Sequence[bytes], key: bytes = b"k") -> None:
    broker.producer().produce([Outgoing(topic, key, value) for value in values])


def _values(messages: Sequence[Message]) -> list[bytes]:
    return [message.value for message in messages]


def _echo(batch: Sequence[Message]) -> Handled:
    return Handled([Outgoing("out", m.key, m.value) for m in batch])


class Ticking:
    """A clock that advances with every look, and does something there: a turn of the loop looks often."""

    def __init__(self, step: float = 0.01) -> None:
        self.now, self.step = 0.0, step
        self.at_look: Callable[[], None] = lambda: None

    def __call__(self) -> float:
        self.at_look()
        self.now += self.step
        return self.now


def _runner(broker: Broker, handler: Handler, topics: Sequence[str] = ("in",), **options: Any) -> Runner:
    return Runner(broker, GROUP, topics, handler, **{"poll_timeout": 0.0, "clock": Ticking(), **options})


def _run_until(broker: Broker, handler: Handler, condition: Callable[[Runner], bool], **options: Any) -> None:
    """Runs until `condition` holds at a look at the clock."""
    clock = Ticking()
    runner = _runner(broker, handler, clock=clock, **options)

    def look() -> None:
        if condition(runner):
            runner.stop()
        assert clock.now < 1_000, "condition never met"

    clock.at_look = look
    runner.run()


def _key(partition: int) -> bytes:
    """A key of this partition of two."""
    return next(key for key in (b"%d" % n for n in range(20)) if partition_of(key, 2) == partition)


def test_output_is_produced_and_the_next_offset_committed() -> None:
    broker = MemoryBroker(partitions=1)
    _send(broker, "in", [b"a", b"b", b"c"])
    _run_until(broker, _echo, lambda _: len(broker.messages("out")) == 3)
    assert _values(broker.messages("out")) == [b"a", b"b", b"c"]
    assert broker.committed(GROUP) == {("in", 0): 3}


def test_batches_hold_what_is_there_up_to_the_batch_size() -> None:
    broker = MemoryBroker(partitions=1)
    _send(broker, "in", [b"%d" % n for n in range(7)])
    sizes: list[int] = []

    def handler(batch: Sequence[Message]) -> Handled:
        sizes.append(len(batch))
        return Handled()

    _run_until(broker, handler, lambda _: sum(sizes) == 7, batch_size=3)
    assert sizes == [3, 3, 1]


class Journal(MemoryBroker):
    """Writes down flushes and commits in order; the next `pending` flushes time out."""

    def __init__(self) -> None:
        super().__init__(partitions=1)
        self.entries: list[str] = []
        self.pending = 0
        self.refusals = 0

    def consumer(
        self, group: str, topics: Sequence[str], *, on_revoke: Callable[[], None] | None = None
    ) -> MemoryConsumer:
        inner = super().consumer(group, topics, on_revoke=on_revoke)
        commit = inner.commit

        def journalled(offsets: Mapping[Partition, int]) -> None:
            if self.refusals > 0:
                self.refusals -= 1
                raise CommitFailed("rebalance in progress")
            self.entries.append(f"commit {sorted(offsets.values())}")
            commit(offsets)

        inner.commit = journalled  # type: ignore[method-assign]
        return inner

    def producer(self) -> MemoryProducer:
        inner = super().producer()

        def flush(timeout: float) -> None:
            if timeout > 0 and self.pending > 0:
                self.pending -= 1
                raise DeliveryPending("out", "1 message queued")
            if timeout > 0:
                self.entries.append("flush")

        inner.flush = flush  # type: ignore[method-assign]
        return inner


def test_output_is_flushed_before_offsets_are_committed() -> None:
    broker = Journal()
    _send(broker, "in", [b"a", b"b"])
    _run_until(broker, _echo, lambda _: len(broker.entries) >= 4, batch_size=1, commit_policy=IMMEDIATE)
    assert broker.entries[:4] == ["flush", "commit [1]", "flush", "commit [2]"]


def test_commits_are_throttled_by_the_policy() -> None:
    broker = Journal()
    handled = 0

    def handler(batch: Sequence[Message]) -> Handled:
        nonlocal handled
        handled += len(batch)
        return Handled()

    _send(broker, "in", [b"%d" % n for n in range(50)])
    _run_until(broker, handler, lambda _: handled == 50, batch_size=1, commit_policy=ONCE_PER_SECOND)
    commits = [entry for entry in broker.entries if entry.startswith("commit")]
    assert 2 <= len(commits) <= 5  # 50 turns of 5 to 8 looks at 10 ms each
    assert commits[-1] == "commit [50]"


def test_a_refused_commit_is_tried_again() -> None:
    broker = Journal()
    broker.refusals = 2
    _send(broker, "in", [b"a"])
    _run_until(broker, _echo, lambda _: broker.committed(GROUP) != {}, commit_policy=IMMEDIATE)
    assert broker.committed(GROUP) == {("in", 0): 1}
    assert _values(broker.messages("out")) == [b"a"]


def test_undelivered_output_is_waited_for_without_handling_again() -> None:
    broker = Journal()
    broker.pending = 3
    seen: list[str | None] = []
    _send(broker, "in", [b"a"])

    def condition(runner: Runner) -> bool:
        seen.append(runner.waiting_for)
        return broker.committed(GROUP) != {}

    _run_until(broker, _echo, condition, commit_policy=IMMEDIATE)
    assert _values(broker.messages("out")) == [b"a"]
    assert broker.pending == 0
    assert seen.count("kafka") > 3
    assert broker.entries[:2] == ["flush", "commit [1]"]


def test_a_failed_delivery_stops_the_runner_uncommitted() -> None:
    broker = MemoryBroker(partitions=1)
    broker.refuse("out", "too large")
    _send(broker, "in", [b"a"])
    with pytest.raises(DeliveryFailed, match="out: too large"):
        _runner(broker, _echo, commit_policy=IMMEDIATE).run()
    assert broker.committed(GROUP) == {}


def test_a_crash_of_the_handler_propagates_and_commits_nothing_more() -> None:
    broker = MemoryBroker(partitions=1)
    _send(broker, "in", [b"good", b"bad"])

    def handler(batch: Sequence[Message]) -> Handled:
        if b"bad" in _values(batch):
            raise ZeroDivisionError
        return _echo(batch)

    with pytest.raises(ZeroDivisionError):
        _runner(broker, handler, batch_size=1).run()
    assert broker.committed(GROUP) == {}
    _run_until(broker, _echo, lambda _: len(broker.messages("out")) == 3)
    assert _values(broker.messages("out")) == [b"good", b"good", b"bad"]
    assert broker.committed(GROUP) == {("in", 0): 2}


def test_an_unavailable_neighbour_is_waited_for_with_growing_pauses_and_nothing_is_lost() -> None:
    broker = MemoryBroker(partitions=1)
    _send(broker, "in", [b"a", b"b"])
    clock = Ticking(0.001)
    tries: list[float] = []
    waiting: list[str | None] = []

    def handler(batch: Sequence[Message]) -> Handled:
        tries.append(clock.now)
        waiting.append(runner.waiting_for)
        if len(tries) == 2:
            _send(broker, "in", [b"c"])
        if len(tries) <= 5:
            raise Unavailable("redis")
        if b"c" in _values(batch):
            runner.stop()
        return _echo(batch)

    runner = _runner(broker, handler, clock=clock, backoff=(0.1, 0.5))
    runner.run()
    assert _values(broker.messages("out")) == [b"a", b"b", b"c"]
    assert broker.committed(GROUP) == {("in", 0): 3}
    assert waiting == ["kafka", *["redis"] * 5, None]
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert pauses[:5] == pytest.approx([0.1, 0.2, 0.4, 0.5, 0.5], abs=0.02)


def test_held_messages_of_partitions_that_moved_are_left_to_the_new_owner() -> None:
    broker = MemoryBroker(partitions=2)
    _send(broker, "in", [b"kept"], key=_key(0))
    _send(broker, "in", [b"moved"], key=_key(1))
    others: list[MemoryConsumer] = []
    tries: list[list[bytes]] = []

    def handler(batch: Sequence[Message]) -> Handled:
        tries.append(_values(batch))
        if not others:
            others.append(broker.consumer(GROUP, ["in"]))
            raise Unavailable("redis")
        runner.stop()
        return Handled()

    runner = _runner(broker, handler)
    runner.run()
    assert tries == [[b"kept", b"moved"], [b"kept"]]
    assert broker.committed(GROUP) == {("in", 0): 1}
    assert _values(others[0].poll(10, 0.0)) == [b"moved"]


def test_partitions_given_up_are_committed_first() -> None:
    broker = MemoryBroker(partitions=2)
    _send(broker, "in", [b"1", b"2"], key=_key(0))
    _send(broker, "in", [b"3", b"4"], key=_key(1))
    others: list[MemoryConsumer] = []
    received: list[Message] = []

    def condition(_: Runner) -> bool:
        if len(broker.messages("out")) == 4 and not others:
            others.append(broker.consumer(GROUP, ["in"]))
        for other in others:
            received.extend(other.poll(10, 0.0))
        return any(other.assignment() for other in others)

    _run_until(broker, _echo, condition, commit_policy=CommitPolicy(1e9, 1_000))
    assert received == []
    assert broker.committed(GROUP) == {("in", 0): 2, ("in", 1): 2}


def test_invalid_messages_go_to_the_dead_letters_and_the_rest_goes_on() -> None:
    broker = MemoryBroker(partitions=1)
    _send(broker, "in", [b"a", b"\xff", b"b"])

    def handler(batch: Sequence[Message]) -> Handled:
        bad = [m for m in batch if m.value == b"\xff"]
        good = _echo([m for m in batch if m not in bad])
        return Handled(good.outgoing, [Invalid(m, "not UTF-8") for m in bad])

    _run_until(broker, handler, lambda _: len(broker.messages("out")) == 2)
    (letter,) = broker.messages("in.dlq")
    assert (letter.key, letter.value) == (b"k", b"\xff")
    assert dict(letter.headers)["plinth_dlq_offset"] == b"1"
    assert dict(letter.headers)["plinth_dlq_reason"] == b"not UTF-8"
    assert broker.committed(GROUP) == {("in", 0): 3}


def test_too_many_invalid_messages_stop_the_runner_before_the_topic_is_drained() -> None:
    broker = MemoryBroker(partitions=1)
    _send(broker, "in", [b"%d" % n for n in range(50)])

    def handler(batch: Sequence[Message]) -> Handled:
        return Handled(invalid=[Invalid(m, "broken deploy") for m in batch])

    limit = DeadLetterLimit(max_share=1.0, max_consecutive=10)
    with pytest.raises(TooManyInvalid, match="limit 10"):
        _runner(broker, handler, batch_size=4, commit_policy=IMMEDIATE, dead_letters=limit).run()
    assert len(broker.messages("in.dlq")) == 8
    assert broker.committed(GROUP) == {("in", 0): 8}


def test_rewind_reads_the_topic_again_and_keeps_the_other_topics_messages() -> None:
    broker = MemoryBroker(partitions=1)
    _send(broker, "in", [b"1", b"2", b"3"])
    seen: list[bytes] = []
    rewound = False

    def handler(batch: Sequence[Message]) -> Handled:
        nonlocal rewound
        if not rewound and len(seen) >= 3:
            rewound = True
            raise Rewind({("in", 0)})
        if not seen:
            _send(broker, "in", [b"4"])
            _send(broker, "labels", [b"L"])
        seen.extend(_values(batch))
        return Handled()

    _run_until(
        broker, handler, lambda _: rewound and b"4" in seen, topics=["in", "labels"], commit_policy=IMMEDIATE
    )
    assert seen == [b"1", b"2", b"3", b"L", b"1", b"2", b"3", b"4"]
    assert broker.committed(GROUP) == {("in", 0): 4, ("labels", 0): 1}


def test_stop_finishes_the_batch_and_commits_it() -> None:
    broker = MemoryBroker(partitions=1)
    _send(broker, "in", [b"1", b"2", b"3", b"4"])

    def handler(batch: Sequence[Message]) -> Handled:
        runner.stop()
        return _echo(batch)

    runner = _runner(broker, handler, batch_size=2)
    runner.run()
    assert _values(broker.messages("out")) == [b"1", b"2"]
    assert broker.committed(GROUP) == {("in", 0): 2}
    successor = broker.consumer(GROUP, ["in"])
    assert _values(successor.poll(10, 0.0)) == [b"3", b"4"]


def test_ready_only_with_partitions_and_the_heart_beats_while_idle() -> None:
    broker = MemoryBroker(partitions=1)
    owner = broker.consumer(GROUP, ["in"])
    owner.poll(1, 0.0)
    needs: list[str | None] = []
    beats: list[float] = []

    def condition(runner: Runner) -> bool:
        needs.append(runner.waiting_for)
        beats.append(runner.heartbeat)
        if len(needs) == 20:
            owner.close()
        return len(needs) == 40

    _run_until(broker, _echo, condition)
    assert needs[:20] == ["kafka"] * 20
    assert needs[39] is None
    assert beats[0] < beats[10] < beats[19] < beats[39]
