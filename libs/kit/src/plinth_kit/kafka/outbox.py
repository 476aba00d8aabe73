"""Events that outlive an absence of the broker: kept on disk, sent later, in order.

While nothing waits, events go straight to the broker. Those that it does not acknowledge in time go to disk,
and so does everything after them until a background thread has sent them all. An event is forgotten once the
broker has acknowledged it, never before; after a crash what is on disk is sent first. So events may arrive
twice, none is lost, and the first arrivals of a key are in the order in which they were published.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, Lock, Thread

from plinth_kit.kafka.message import Outgoing
from plinth_kit.kafka.ports import Broker, DeliveryFailed, DeliveryPending, DeliveryRefused
from plinth_kit.kafka.spool import Spool, SpoolFailed, Waiting

_LOG = logging.getLogger(__name__)

_BATCH = 1000
_RETRY_SECONDS = 0.2


class NotKept(Exception):
    """Neither the broker nor the disk took the events: they count as not published; try again later."""


class Outbox:
    """Publishes events through a broker that may be away, keeping them in `folder` meanwhile.

    flush_seconds: time for the broker's answer before events go to disk. max_bytes: most that may wait there.
    clock: Unix seconds. Any thread may publish. One process a folder: SettingsError where it is no use.
    """

    def __init__(
        self,
        broker: Broker,
        folder: Path,
        *,
        flush_seconds: float = 2.0,
        max_bytes: int = 1 << 30,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._broker, self._flush_seconds, self._clock = broker, flush_seconds, clock
        self._spool = Spool(folder, max_bytes)
        # Used by `publish` while nothing waits, else by `turn`, which awaits what `publish` has queued.
        self._producer = broker.producer()
        self._queued = 0  # id on disk up to which the producer has the messages
        self._step = _BATCH
        self._publishing, self._handing_over = Lock(), Lock()
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        """Starts the thread that sends what waits."""
        self._thread.start()

    def stop(self) -> None:
        """Ends thread and producer; what waits stays on disk for the next start."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        self._producer.abandon()
        self._spool.close()

    def publish(self, outgoing: Sequence[Outgoing]) -> bool:
        """True: the broker has all of them. False: they are on disk and will be sent in order.

        Raises NotKept where the disk is full too, and DeliveryRefused for an event that the broker will never
        take; some of the others may have been delivered then.
        """
        if not outgoing:
            return True
        with self._publishing:
            queued = False
            if self._spool.waiting.messages == 0:
                try:
                    self._producer.produce(outgoing)
                    self._producer.flush(self._flush_seconds)
                    return True
                except DeliveryPending as error:
                    queued = True
                    _LOG.warning("kafka does not answer, events go to disk: %s", error)
                except DeliveryRefused:
                    self._renew_producer()
                    raise
                except DeliveryFailed as error:
                    self._renew_producer()
                    _LOG.warning("kafka does not take events, they go to disk: %s", error)
            self._keep(outgoing, queued)
            return False

    def turn(self) -> bool:
        """Tries to send the oldest events; whether there is reason to go on at once. SpoolFailed as is."""
        with self._handing_over:
            head = self._spool.head(self._step)
        if not head.messages:
            return False
        try:
            if not self._queued:
                self._producer.produce(head.messages)
                self._queued = head.last
            self._producer.flush(self._flush_seconds)
        except DeliveryPending:
            return False
        except DeliveryRefused as error:
            alone = len(head.messages) == 1 and self._queued <= head.last
            self._renew_producer()
            self._step = max(1, len(head.messages) // 2)  # searches the one that was meant
            if alone:
                self._spool.set_aside(head.last, str(error))
                _LOG.error("kafka refused an event, it is set aside: %s", error)
            return True
        except DeliveryFailed as error:
            self._renew_producer()
            _LOG.warning("kafka does not take events from disk: %s", error)
            return False
        sent, self._queued = self._queued, 0
        self._step = min(_BATCH, 2 * self._step)
        self._spool.remove(sent)  # when nothing is left the producer is `publish`'s again
        if not self._spool.waiting.messages:
            _LOG.info("kafka has all events that were on disk")
        return True

    @property
    def waiting(self) -> Waiting:
        """What is on disk, to be sent."""
        return self._spool.waiting

    @property
    def refused(self) -> int:
        """How many events from disk the broker will never take; they stay there, in the table `refused`."""
        return self._spool.refused

    @property
    def age(self) -> float:
        """Seconds that the oldest event has waited; 0.0 if there is none."""
        oldest = self._spool.waiting.oldest
        return 0.0 if oldest is None else max(0.0, self._clock() - oldest)

    def note(self) -> str | None:
        """What health says of it: nothing while nothing waits. For Health.add_degraded."""
        count = self._spool.waiting.messages
        return f"away, {count} events on disk, the oldest for {self.age:.0f} s" if count else None

    def _keep(self, outgoing: Sequence[Outgoing], queued: bool) -> None:
        """`queued`: the producer has them, and nothing else."""
        with self._handing_over:
            try:
                last = self._spool.append(outgoing, self._clock())
            except SpoolFailed as error:
                if queued:
                    self._renew_producer()
                raise NotKept(f"kafka is away and the disk does not take events: {error}") from error
            if queued:
                self._queued = last

    def _renew_producer(self) -> None:
        self._producer.abandon()
        self._producer = self._broker.producer()
        self._queued = 0

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                if self._spool.waiting.messages and self.turn():
                    continue
            except SpoolFailed as error:
                _LOG.error("events on disk cannot be sent: %s", error)
            self._stopped.wait(_RETRY_SECONDS)
