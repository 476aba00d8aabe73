"""Kafka edge of the engine: decode, re-key what belongs to another reader, fold the rest.

Idempotent by (source topic, partition, offset), which every row remembers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
import redis

from feature_store.metrics import EngineMetrics
from feature_store.service import FeatureEngine
from plinth_contracts import codec
from plinth_contracts.events import EVENT_TYPES, FeatureUpdate
from plinth_contracts.topics import TopicSpec
from plinth_features.projection import PROJECTIONS, is_keyed_by, updates
from plinth_features.rows import Layout
from plinth_features.spec import View
from plinth_features.store import RowStore, StateLost, marker
from plinth_kit.kafka.message import Handled, Invalid, Message, Outgoing, Partition, Rewind, Unavailable

UPDATES = "feature.update"


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
        self._decode = {topic: codec.decoder(EVENT_TYPES[topic]) for topic in [*self._views, UPDATES]}
        self._rewound: set[Partition] = set()

    @property
    def topics(self) -> list[str]:
        """What to subscribe to."""
        return sorted(self._decode)

    def __call__(self, batch: Sequence[Message]) -> Handled:
        """See Handler. Raises Rewind when rows were lost, Unavailable("redis") when Redis is away."""
        direct: list[FeatureUpdate] = []
        rekeyed: list[Outgoing] = []
        invalid: list[Invalid] = []
        read_from: dict[str, set[Partition]] = defaultdict(set)
        for message in batch:
            try:
                for update, mine in self._updates(message):
                    if mine:
                        direct.append(update)
                        read_from[update.view].add((message.topic, message.partition))
                    else:
                        rekeyed.append(_rekeyed(update, message))
            except (msgspec.DecodeError, ValueError) as error:
                invalid.append(Invalid(message, str(error)))
        try:
            self._apply(direct, read_from)
        except redis.RedisError as error:
            raise Unavailable("redis") from error
        return Handled(rekeyed, invalid)

    def _apply(self, batch: list[FeatureUpdate], read_from: Mapping[str, set[Partition]]) -> None:
        markers = {
            view: [marker(self._stores[view][0], *partition) for partition in sorted(partitions)]
            for view, partitions in read_from.items()
        }
        try:
            applied = self._engine.apply(batch, markers)
        except StateLost:
            lost = {partition for partitions in read_from.values() for partition in partitions}
            if not lost <= self._rewound:
                self._rewound |= lost
                raise Rewind(lost) from None
            self._rewound -= lost
            for view, names in markers.items():
                self._stores[view][1].put_markers(names)
            applied = self._engine.apply(batch, markers)
        for one in applied:
            self._metrics.applied(one)

    def _updates(self, message: Message) -> list[tuple[FeatureUpdate, bool]]:
        """Updates that follow from a message, and whether this reader is the one writer of their row."""
        event = self._decode[message.topic](message.value)
        if isinstance(event, FeatureUpdate):
            if event.view not in self._stores:
                raise ValueError(f"no view is called {event.view!r}")
            return [(event, True)]
        projected = PROJECTIONS[message.topic](event)
        changes = updates(self._views[message.topic], projected, message.partition, message.offset)
        return [(change, self._mine[change.view]) for change in changes]


def _rekeyed(update: FeatureUpdate, message: Message) -> Outgoing:
    """An update on its way to the reader of its entity."""
    headers = codec.headers(
        UPDATES,
        event_id=f"{message.topic}/{message.partition}/{message.offset}/{update.view}",
        source="feature-store",
        time=datetime.fromtimestamp(update.ts_ms / 1000).astimezone(),
        extra=[header for header in message.headers if header[0] == "traceparent"],
    )
    return Outgoing(UPDATES, update.entity.encode(), codec.encode(update), headers)
