"""The loop of a consumer: poll, handle, produce, and commit only what has taken effect.

Offsets are committed after the output of their messages is acknowledged; waiting for that happens when a
commit is due, not for every batch. So a crash means that messages are handled again, never that one is lost.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from plinth_kit.kafka.commit import ONCE_PER_SECOND, CommitPolicy, CommitState
from plinth_kit.kafka.deadletter import DeadLetterLimit, Tally, dead_letter
from plinth_kit.kafka.message import Handler, Invalid, Message, Partition, Rewind, Unavailable
from plinth_kit.kafka.observer import NullObserver, Observer
from plinth_kit.kafka.ports import Broker, CommitFailed, DeliveryFailed, DeliveryPending

_LOG = logging.getLogger(__name__)

BROKER = "kafka"
_FLUSH_SECONDS = 5.0
_LAG_EVERY_SECONDS = 5.0


class Runner:
    """Runs a handler over topics as a member of a group.

    batch_size: most messages per call of the handler. poll_timeout: seconds to wait while there are none.
    backoff: first and longest seconds between retries while a neighbour is away.
    heartbeat: clock() of the last turn of the loop. waiting_for: the neighbour that is lacking; "kafka"
    until partitions are assigned; None when ready.
    """

    def __init__(
        self,
        broker: Broker,
        group: str,
        topics: Sequence[str],
        handler: Handler,
        *,
        batch_size: int = 500,
        poll_timeout: float = 0.1,
        commit_policy: CommitPolicy = ONCE_PER_SECOND,
        dead_letters: DeadLetterLimit = DeadLetterLimit(),  # noqa: B008  frozen
        backoff: tuple[float, float] = (0.1, 5.0),
        observer: Observer = NullObserver(),  # noqa: B008  without state
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broker, self._group, self._topics, self._handler = broker, group, tuple(topics), handler
        self._batch_size, self._poll_timeout = batch_size, poll_timeout
        self._commit_policy, self._dead_letters, self._backoff = commit_policy, dead_letters, backoff
        self._observer, self._clock = observer, clock
        self._done: dict[Partition, int] = {}  # next offsets whose messages are handled, not yet committed
        self._held: list[Message] = []  # polled, to be handled (again)
        self._needs: str | None = None
        self._attempt, self._retry_at = 0, 0.0
        self._tally = Tally()
        self._commit_state = CommitState(clock())
        self._lag_at = clock() + _LAG_EVERY_SECONDS
        self._stopping = False
        self.heartbeat = clock()
        self.waiting_for: str | None = BROKER

    def stop(self) -> None:
        """Ends run after the current batch. May be called from a signal handler or another thread."""
        self._stopping = True

    def run(self) -> None:
        """Runs until stop; then what was done is committed.

        Raises what the handler raises, TooManyInvalid, or DeliveryFailed; nothing more is committed then,
        so a restarted process handles those messages again.
        """
        self._producer = self._broker.producer()
        self._consumer = self._broker.consumer(self._group, self._topics, on_revoke=self._on_revoke)
        try:
            while not self._stopping:
                self._turn()
            self._commit()
        except BaseException:
            self._done.clear()  # so that closing does not commit
            raise
        finally:
            self._consumer.close()

    def _turn(self) -> None:
        self.heartbeat = self._clock()
        if self._needs is None:
            batch, self._held = self._held or self._poll(self._poll_timeout), []
            self._work(batch)
        else:
            self._keep_membership()
            if self._clock() >= self._retry_at:
                self._work(self._held)
        self.waiting_for = self._needs or (None if self._consumer.assignment() else BROKER)
        if self.heartbeat >= self._lag_at:
            self._observer.lag(self._consumer.lag())
            self._lag_at = self.heartbeat + _LAG_EVERY_SECONDS

    def _poll(self, timeout: float) -> list[Message]:
        return self._consumer.poll(self._batch_size, timeout)

    def _keep_membership(self) -> None:
        """Polls while paused, and forgets held messages whose partitions have moved to another member."""
        left = max(0.0, self._retry_at - self._clock())
        self._held += self._poll(min(left, self._poll_timeout))
        owned = self._consumer.assignment()
        self._held = [m for m in self._held if (m.topic, m.partition) in owned]

    def _work(self, batch: list[Message]) -> None:
        try:
            if batch:
                self._process(batch)
                self._held = []
            if self._commit_policy.due(self._commit_state, self._clock()):
                self._commit()
        except Unavailable as e:
            self._held = batch
            self._wait(e.needs)
        except DeliveryPending:
            self._wait(BROKER)
        except Rewind as e:
            self._rewind(e.partitions, batch)
            self._go_on()
        else:
            self._go_on()

    def _process(self, batch: list[Message]) -> None:
        started = self._clock()
        handled = self._handler(batch)
        seconds = self._clock() - started
        failed = _positions(batch, handled.invalid) if handled.invalid else ()
        self._tally = self._dead_letters.count(self._tally, len(batch), failed)
        self._producer.produce(handled.outgoing)
        if handled.invalid:
            self._producer.produce([dead_letter(i.message, i.reason) for i in handled.invalid])
        done = self._done
        for message in batch:
            done[message.topic, message.partition] = message.offset + 1
        self._commit_state = self._commit_state.after(len(batch))
        self._observer.handled(batch, handled, seconds)

    def _commit(self) -> None:
        """Waits until output is delivered, then commits. A refused commit is tried again when next due."""
        self._producer.flush(_FLUSH_SECONDS)
        now = self._clock()
        try:
            self._consumer.commit(self._done)
        except CommitFailed as e:
            _LOG.warning("offsets not committed: %s", e)
            self._commit_state = CommitState(now, len(self._done))
            return
        self._observer.committed(self._done)
        self._done = {}
        self._commit_state = CommitState(now)

    def _on_revoke(self) -> None:
        """Last chance to commit. What is not committed is handled again by the next owner."""
        if not self._done:
            return
        try:
            self._commit()
        except DeliveryFailed as e:
            _LOG.warning("output not delivered before partitions are given up: %s", e)

    def _wait(self, needs: str) -> None:
        if self._needs is None:
            self._consumer.pause()
            _LOG.warning("waiting for %s", needs)
        first, longest = self._backoff
        self._retry_at = self._clock() + min(longest, first * 2.0**self._attempt)
        self._attempt = min(self._attempt + 1, 30)
        self._needs = needs
        self._observer.retrying(needs)

    def _go_on(self) -> None:
        if self._needs is None:
            return
        _LOG.info("%s is back", self._needs)
        self._needs, self._attempt = None, 0
        self._consumer.resume()

    def _rewind(self, partitions: frozenset[Partition], batch: list[Message]) -> None:
        self._consumer.commit(dict.fromkeys(partitions, 0))
        self._consumer.seek_to_beginning(partitions)
        for tp in partitions & self._done.keys():
            del self._done[tp]
        self._held = [message for message in batch if (message.topic, message.partition) not in partitions]
        self._observer.rewound(partitions)


def _positions(batch: Sequence[Message], invalid: Sequence[Invalid]) -> list[int]:
    failed = {(i.message.topic, i.message.partition, i.message.offset) for i in invalid}
    return [n for n, m in enumerate(batch) if (m.topic, m.partition, m.offset) in failed]
