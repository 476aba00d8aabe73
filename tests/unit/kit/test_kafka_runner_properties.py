"""Whatever crashes when: every message takes effect, and no commit passes one that has not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from plinth_kit.kafka.commit import CommitPolicy
from plinth_kit.kafka.memory import MemoryBroker
from plinth_kit.kafka.message import Handled, Message, Outgoing, Partition, Unavailable
from plinth_kit.kafka.ports import Consumer, Producer
from plinth_kit.kafka.runner import Runner

GROUP = "group"
MESSAGES = 30


class Crash(Exception):
    pass


class Fuse:
    """Blows at the n-th step; None never does."""

    def __init__(self, steps: int | None) -> None:
        self.left = steps

    def step(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Crash


class FusedConsumer:
    """Checks each commit against the effects, and crashes before or after any call."""

    def __init__(self, inner: Consumer, broker: MemoryBroker, fuse: Fuse) -> None:
        self._inner, self._broker, self._fuse = inner, broker, fuse

    def poll(self, max_messages: int, timeout: float) -> list[Message]:
        self._fuse.step()
        return self._inner.poll(max_messages, timeout)

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        self._fuse.step()
        effects = {m.value for m in self._broker.messages("out")}
        for m in self._broker.messages("in"):
            assert m.offset >= offsets.get((m.topic, m.partition), 0) or m.value in effects
        self._inner.commit(offsets)
        self._fuse.step()

    def pause(self) -> None:
        self._inner.pause()

    def resume(self) -> None:
        self._inner.resume()

    def seek_to_beginning(self, partitions: Collection[Partition]) -> None:
        self._inner.seek_to_beginning(partitions)

    def assignment(self) -> frozenset[Partition]:
        return self._inner.assignment()

    def lag(self) -> Mapping[Partition, int]:
        return self._inner.lag()

    def close(self) -> None:
        self._inner.close()


class LateProducer:
    """Delivers on flush only, as a real one may: what is queued at a crash is lost."""

    def __init__(self, inner: Producer, fuse: Fuse) -> None:
        self._inner, self._fuse = inner, fuse
        self._queue: list[Outgoing] = []

    def produce(self, outgoing: Sequence[Outgoing]) -> None:
        self._fuse.step()
        self._queue += outgoing
        self._fuse.step()

    def flush(self, timeout: float) -> None:
        self._fuse.step()
        self._inner.produce(self._queue)
        self._inner.flush(timeout)
        self._queue.clear()
        self._fuse.step()


class FusedBroker:
    def __init__(self, broker: MemoryBroker, fuse: Fuse) -> None:
        self._broker, self._fuse = broker, fuse

    def consumer(
        self, group: str, topics: Sequence[str], *, on_revoke: Callable[[], None] | None = None
    ) -> Consumer:
        inner = self._broker.consumer(group, topics, on_revoke=on_revoke)
        return FusedConsumer(inner, self._broker, self._fuse)

    def producer(self) -> Producer:
        return LateProducer(self._broker.producer(), self._fuse)


def _run(
    broker: MemoryBroker, fuse: Fuse, batch: int, policy: CommitPolicy, away: set[int], join: int | None
) -> None:
    """One life of a process. `away`: calls of the handler that find a neighbour missing; `join`: the call
    at which a second member of the group comes for a while, so that partitions move and come back."""
    calls = 0
    ticks = 0
    guest: Consumer | None = None

    def handler(messages: Sequence[Message]) -> Handled:
        nonlocal calls, guest
        calls += 1
        fuse.step()
        if calls == join:
            guest = broker.consumer(GROUP, ["in"])
        if calls in away:
            raise Unavailable("redis")
        return Handled([Outgoing("out", m.key, m.value) for m in messages])

    def clock() -> float:
        nonlocal ticks, guest
        ticks += 1
        if guest is not None:
            guest.poll(1, 0.0)
            if ticks % 7 == 0:
                guest.close()
                guest = None
        if ticks > 400:
            runner.stop()
        return ticks * 0.05

    runner = Runner(
        FusedBroker(broker, fuse),
        GROUP,
        ["in"],
        handler,
        batch_size=batch,
        poll_timeout=0.0,
        commit_policy=policy,
        backoff=(0.1, 0.2),
        clock=clock,
    )
    try:
        runner.run()
    except Crash:
        pass
    finally:
        if guest is not None:
            guest.close()


@given(
    crashes=st.lists(st.integers(0, 60), max_size=6),
    batch=st.integers(1, 9),
    every_seconds=st.sampled_from([0.0, 0.3, 1.0]),
    every_messages=st.integers(1, 40),
    away=st.sets(st.integers(1, 8), max_size=4),
    join=st.one_of(st.none(), st.integers(1, 6)),
)
def test_every_message_takes_effect_and_commits_never_run_ahead(
    crashes: list[int],
    batch: int,
    every_seconds: float,
    every_messages: int,
    away: set[int],
    join: int | None,
) -> None:
    broker = MemoryBroker(partitions=3)
    broker.producer().produce([Outgoing("in", b"k%d" % n, b"%d" % n) for n in range(MESSAGES)])
    policy = CommitPolicy(every_seconds, every_messages)
    for steps in crashes:
        _run(broker, Fuse(steps), batch, policy, away, join)
    _run(broker, Fuse(None), batch, policy, away, join)
    assert {m.value for m in broker.messages("out")} == {b"%d" % n for n in range(MESSAGES)}
    ends = {(m.topic, m.partition): m.offset + 1 for m in broker.messages("in")}
    assert broker.committed(GROUP) == ends
