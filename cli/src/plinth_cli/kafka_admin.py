"""Topics and consumer groups of the running broker, by a client independent of the services'."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from plinth_contracts.topics import TopicSpec

Admin: TypeAlias = Any
"""kafka-python's KafkaAdminClient, which has no types."""


@dataclass(frozen=True)
class TopicState:
    """A topic of the broker. `lag`: messages that each group has still to read, over all partitions."""

    name: str
    partitions: int
    messages: int
    lag: Mapping[str, int]


def connect(bootstrap: str, timeout_ms: int = 5000) -> Admin:
    """An admin client, to be closed by the caller; KafkaError when no broker answers in time."""
    from kafka import KafkaAdminClient

    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    return KafkaAdminClient(
        bootstrap_servers=bootstrap,
        client_id="plinth-cli",
        bootstrap_timeout_ms=timeout_ms,
        request_timeout_ms=15_000,
    )


def create_missing(admin: Admin, specs: Iterable[TopicSpec]) -> list[str]:
    """Create what the declarations want and the broker lacks; returns the names."""
    present = set(admin.list_topics())
    missing = {
        topic.name: {
            "num_partitions": topic.partitions,
            "replication_factor": 1,
            "configs": topic.config,
        }
        for spec in specs
        for topic in spec.wanted
        if topic.name not in present
    }
    if missing:
        admin.create_topics(missing, wait_for_metadata=True)
    return list(missing)


def states(admin: Admin, names: Sequence[str] | None = None) -> list[TopicState]:
    """Topics by name, the broker's internal ones left out. With `names`, only those that exist of them."""
    described = [
        topic
        for topic in admin.describe_topics()
        if not topic["is_internal"] and (not names or topic["name"] in names)
    ]
    partitions = {
        topic["name"]: sorted(p["partition_index"] for p in topic["partitions"]) for topic in described
    }
    first, last = _ends(admin, partitions)
    committed = _committed(admin)
    return [
        TopicState(
            name,
            len(numbers),
            sum(last[name, number] - first[name, number] for number in numbers),
            _lag(name, numbers, first, last, committed),
        )
        for name, numbers in sorted(partitions.items())
    ]


def _lag(
    name: str,
    numbers: Sequence[int],
    first: Mapping[tuple[str, int], int],
    last: Mapping[tuple[str, int], int],
    committed: Mapping[str, Mapping[tuple[str, int], int]],
) -> dict[str, int]:
    lag = {}
    for group, offsets in sorted(committed.items()):
        if any((name, number) in offsets for number in numbers):
            lag[group] = sum(
                last[name, number] - max(offsets.get((name, number), 0), first[name, number])
                for number in numbers
            )
    return lag


def _ends(
    admin: Admin, partitions: Mapping[str, Sequence[int]]
) -> tuple[dict[tuple[str, int], int], dict[tuple[str, int], int]]:
    from kafka import TopicPartition
    from kafka.admin import OffsetSpec

    all_of_them = [TopicPartition(name, number) for name, numbers in partitions.items() for number in numbers]

    def offsets(spec: object) -> dict[tuple[str, int], int]:
        found = admin.list_partition_offsets(dict.fromkeys(all_of_them, spec)) if all_of_them else {}
        return {(tp.topic, tp.partition): answer.offset for tp, answer in found.items()}

    return offsets(OffsetSpec.EARLIEST), offsets(OffsetSpec.LATEST)


def _committed(admin: Admin) -> dict[str, dict[tuple[str, int], int]]:
    groups = [group["group_id"] for group in admin.list_groups()]
    found = admin.list_group_offsets(groups) if groups else {}
    return {
        group: {
            (tp.topic, tp.partition): answer.offset for tp, answer in offsets.items() if answer.offset >= 0
        }
        for group, offsets in found.items()
    }
