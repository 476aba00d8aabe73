"""Kafka edge of the engine: decode, re-key what belongs to another reader, fold the rest.

Idempotent by (source topic, partition, offset), which every row remembers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import redis

from feature_store.metrics import EngineMetrics
from feature_store.service import Arrivals, FeatureEngine
from plinth_contracts import codec
from plinth_contracts.events import MAX_AHEAD, FeatureUpdate
from plinth_contracts.topics import TopicSpec
from plinth_features import projection
from plinth_features.projection import PROJECTIONS, is_keyed_by
from plinth_features.rows import Layout
from plinth_features.spec import View
from plinth_features.store import RowStore, StateLost, marker
from plinth_kit import tracing
from plinth_kit.kafka.message import Handled, Invalid, Message, Outgoing, Partition, Rewind, Unavailable

UPDATES = "feature.update"
MAX_TS_MS = 8_000_000_000_000
"""The year 2223: later than any event's time, and far from where sums of times leave 64 bits."""


class EngineHandler:
    """Handler of all source topics and of the internal topic of re-keyed updates."""

    def __init__(
        self,
        views: Sequence[View],
        stores: Mapping[str, tuple[Layout, RowStore]],
        topics: Mapping[str, TopicSpec],
        metrics: EngineMetrics,
    ) -> None:
        self._engine = FeatureEngine(stores)
        self._metrics = metrics
        self._stores = stores
        self._views: dict[str, list[View]] = defaultdict(list)
        for view in views:
            self._views[view.source].append(view)
        self._mine = {view.name: is_keyed_by(view, topics[view.source].key) for view in views}
        self._decode: dict[str, Callable[[bytes], Any]] = {
            topic: codec.decoder(PROJECTIONS[topic][0]) for topic in self._views
        }
        self._decode[UPDATES] = codec.decoder(FeatureUpdate)
        self._rewound: set[Partition] = set()

    @property
    def topics(self) -> list[str]:
        """What to subscribe to."""
        return sorted(self._decode)

    def __call__(self, batch: Sequence[Message]) -> Handled:
        """See Handler. Raises Rewind when rows were lost, Unavailable("redis") when Redis is away."""
        direct: dict[str, Arrivals] = defaultdict(Arrivals)
        rekeyed: list[Outgoing] = []
        invalid: list[Invalid] = []
        for message in batch:
            try:
                event = self._decode[message.topic](message.value)
                if isinstance(event, FeatureUpdate):
                    self._take(event, message, direct)
                else:
                    rekeyed += self._project(event, message, direct)
            except (msgspec.DecodeError, ValueError) as error:
                invalid.append(Invalid(message, str(error)))
        try:
            self._apply(direct)
        except redis.RedisError as error:
            raise Unavailable("redis") from error
        return Handled(rekeyed, invalid)

    def _apply(self, arrivals: Mapping[str, Arrivals]) -> None:
        of_view = {
            view: {marker(self._stores[view][0], *place): place for place in sorted(mine.read_from)}
            for view, mine in arrivals.items()
        }
        markers = {view: list(places) for view, places in of_view.items()}
        try:
            applied = self._engine.apply(arrivals, markers)
        except StateLost:
            gone = {view: self._stores[view][1].missing(names) for view, names in markers.items()}
            lost = {of_view[view][name] for view, names in gone.items() for name in names}
            if not lost <= self._rewound:
                lost -= self._rewound
                self._rewound |= lost
                raise Rewind(lost) from None
            for view, names in gone.items():
                self._stores[view][1].put_markers(names)
            applied = self._engine.apply(arrivals, markers)
        # Their markers stand: when they are lost the next time, they are to be read again.
        self._rewound.difference_update(*[mine.read_from for mine in arrivals.values()])
        for one in applied:
            self._metrics.applied(one)

    def _take(self, update: FeatureUpdate, message: Message, direct: Mapping[str, Arrivals]) -> None:
        """An update that another reader re-keyed."""
        stored = self._stores.get(update.view)
        if stored is None:
            raise ValueError(f"no view is called {update.view!r}")
        view, line = stored[0].view, projection.line(update, 0)
        if len(update.values) != len(view.columns) or update.source_partition >= view.partitions:
            raise ValueError(f"this is no update of {update.view} as it is declared now")
        if max(line) >= 1 << 63 or min(line) < -(1 << 63):
            raise ValueError("a number has more than 64 bits")
        _check_time(update.ts_ms, message)
        direct[update.view].add(update.entity, line, (message.topic, message.partition))

    def _project(
        self, event: msgspec.Struct, message: Message, direct: Mapping[str, Arrivals]
    ) -> list[Outgoing]:
        """What an event changes: rows of which this reader is the one writer, or else what it sends on."""
        rekeyed = []
        projected = PROJECTIONS[message.topic][1](event)
        _check_time(projected.ts_ms, message)
        for view in self._views[message.topic]:
            entity = projected.entities.get(view.entity)
            if entity is None:
                continue
            if self._mine[view.name]:
                line = projection.project(view, projected, message.partition, message.offset)
                direct[view.name].add(entity, line, (message.topic, message.partition))
            else:
                update = projection.update(view, projected, message.partition, message.offset)
                rekeyed.append(_rekeyed(update, message))
        return rekeyed


def _check_time(ts_ms: int, message: Message) -> None:
    """An event from a distant future would leave all that really happens behind its windows."""
    if abs(ts_ms) > MAX_TS_MS or ts_ms > message.timestamp_ms + MAX_AHEAD.total_seconds() * 1000:
        raise ValueError("its time lies more than a day after it was sent, or out of all range")


def _rekeyed(update: FeatureUpdate, message: Message) -> Outgoing:
    """An update on its way to the reader of its entity."""
    headers = codec.headers(
        UPDATES,
        event_id=f"{message.topic}/{message.partition}/{message.offset}/{update.view}",
        source="feature-store",
        time=datetime.fromtimestamp(update.ts_ms / 1000, UTC),
        extra=tracing.passed_on(message.headers),
    )
    return Outgoing(UPDATES, update.entity.encode(), codec.encode(update), headers)
