"""Whatever fails and crashes when: what was published arrives, and each key in its order."""

from __future__ import annotations

import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from plinth_kit.kafka.memory import MemoryBroker, MemoryConsumer
from plinth_kit.kafka.message import Outgoing
from plinth_kit.kafka.outbox import Outbox
from plinth_kit.kafka.ports import DeliveryFailed, DeliveryPending

TOPIC = "topic"
FAULTS = ["away", "failed", "crash before", "crash after"]


class Crash(Exception):
    pass


class FaultyBroker:
    """Takes messages one by one; each has a fault from the script, if any is left."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.inner = MemoryBroker(partitions=2)
        self.faults = deque(faults)

    def producer(self) -> FaultyProducer:
        return FaultyProducer(self)

    def consumer(
        self, group: str, topics: Sequence[str], *, on_revoke: Callable[[], None] | None = None
    ) -> MemoryConsumer:
        return self.inner.consumer(group, topics, on_revoke=on_revoke)

    def take(self, message: Outgoing) -> None:
        fault = self.faults.popleft() if self.faults else ""
        if fault == "away":
            raise DeliveryPending(TOPIC, "away")
        if fault == "failed":
            raise DeliveryFailed(TOPIC, "failed")
        if fault == "crash before":
            raise Crash
        self.inner.append(message)
        if fault == "crash after":
            raise Crash


class FaultyProducer:
    """Keeps what the broker did not take, unless that failed; of no use once abandoned."""

    def __init__(self, broker: FaultyBroker) -> None:
        self._broker = broker
        self._queue: deque[Outgoing] = deque()
        self._usable = True

    def produce(self, outgoing: Sequence[Outgoing]) -> None:
        assert self._usable
        self._queue += outgoing

    def flush(self, timeout: float) -> None:
        assert self._usable
        while self._queue:
            self._broker.take(self._queue[0])
            self._queue.popleft()

    def abandon(self) -> None:
        self._usable = False


class Run:
    """An outbox that is opened again, on what is on disk, after every crash."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.broker = FaultyBroker(faults)
        self._base = Path(tempfile.mkdtemp())
        self._starts = 0
        self._outboxes: list[Outbox] = []
        self._open(self._base / "0")
        self.published = 0
        self.promised: list[int] = []

    def publish(self, keys: Sequence[int]) -> None:
        numbers = range(self.published, self.published + len(keys))
        self.published += len(keys)
        batch = [Outgoing(TOPIC, b"%d" % k, b"%d" % n) for k, n in zip(keys, numbers, strict=True)]
        try:
            self.outbox.publish(batch)
        except Crash:
            self.crash()
        else:
            self.promised += numbers

    def turn(self) -> None:
        try:
            self.outbox.turn()
        except Crash:
            self.crash()

    def crash(self) -> None:
        old, self._starts = self._base / str(self._starts), self._starts + 1
        shutil.copytree(old, self._base / str(self._starts))
        self._open(self._base / str(self._starts))

    def close(self) -> None:
        for outbox in self._outboxes:
            outbox.stop()
        shutil.rmtree(self._base)

    def _open(self, folder: Path) -> None:
        self.outbox = Outbox(self.broker, folder, clock=lambda: 0.0)
        self._outboxes.append(self.outbox)


_actions = st.one_of(
    st.lists(st.integers(0, 3), min_size=1, max_size=4),
    st.sampled_from(["turn", "turn", "turn", "crash"]),
)


@settings(max_examples=100, deadline=None)
@given(
    actions=st.lists(_actions, max_size=25), faults=st.lists(st.sampled_from(["", "", *FAULTS]), max_size=40)
)
def test_everything_promised_arrives_and_first_arrivals_keep_the_order_of_their_key(
    actions: list[list[int] | str], faults: list[str]
) -> None:
    run = Run(faults)
    try:
        for action in actions:
            if isinstance(action, list):
                run.publish(action)
            elif action == "turn":
                run.turn()
            else:
                run.crash()
        run.broker.faults.clear()
        while run.outbox.turn():
            pass
        assert run.outbox.waiting.messages == 0
        arrived: dict[bytes | None, dict[int, None]] = {}
        for message in run.broker.inner.messages(TOPIC):
            arrived.setdefault(message.key, {})[int(message.value)] = None
        for first_arrivals in arrived.values():
            assert list(first_arrivals) == sorted(first_arrivals)
        assert set(run.promised) <= {n for firsts in arrived.values() for n in firsts}
    finally:
        run.close()


@settings(max_examples=50, deadline=None)
@given(actions=st.lists(_actions, max_size=25), faults=st.lists(st.sampled_from(["", "away"]), max_size=40))
def test_an_absence_alone_doubles_nothing(actions: list[list[int] | str], faults: list[str]) -> None:
    run = Run(faults)
    try:
        for action in actions:
            if isinstance(action, list):
                run.publish(action)
            else:
                run.turn()
        run.broker.faults.clear()
        while run.outbox.turn():
            pass
        arrived = [int(message.value) for message in run.broker.inner.messages(TOPIC)]
        assert sorted(arrived) == list(range(run.published))
    finally:
        run.close()
