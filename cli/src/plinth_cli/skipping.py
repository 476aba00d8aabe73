"""Messages that a consumer group will not read: where it stands, where it shall go on, and the move."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from plinth_cli.errors import PlatformError
from plinth_cli.kafka_admin import Admin

LEAVING_SECONDS = 15.0
"""A process that was stopped stays a member for its session timeout (10 s): it may only be restarting."""

_TARGET = re.compile(r"latest|\+?[0-9]{1,18}")


@dataclass(frozen=True)
class Standing:
    """A partition: its first offset, the one after its last, and what the group committed, if anything."""

    first: int
    end: int
    committed: int | None


@dataclass(frozen=True)
class Skip:
    """The group reads on at offset `end` instead of at `start`."""

    partition: int
    start: int
    end: int


def plan(standings: Mapping[int, Standing], to: str, partition: int | None = None) -> list[Skip]:
    """What to pass over, by partition; partitions without anything to skip are left out.

    `to`: `latest`, `+N` (so many messages a partition) or an offset, which needs the partition. It never
    goes beyond the end. Raises PlatformError where that makes no sense, or would mean to read again.
    """
    if not _TARGET.fullmatch(to):
        raise PlatformError(f"--to {to!r} is none of: latest, +N (so many messages), N (an offset)")
    if partition is not None and partition not in standings:
        raise PlatformError(f"there is no partition {partition}; there are 0 to {max(standings)}")
    if to[0].isdigit() and partition is None:
        raise PlatformError("an offset belongs to one partition: name it with --partition")
    skips = []
    for number, standing in sorted(standings.items()):
        if partition not in (None, number):
            continue
        committed = standing.first if standing.committed is None else standing.committed
        start = max(committed, standing.first)
        if to == "latest":
            end = standing.end
        elif to[0] == "+":
            end = start + int(to)
        else:
            end = int(to)
            if end < start:
                raise PlatformError(f"partition {number} is at {start}: skip goes forward only")
        if (end := min(end, standing.end)) > start:
            skips.append(Skip(number, start, end))
    return skips


def standings(admin: Admin, group: str, topic: str) -> dict[int, Standing]:
    """Every partition of a topic. Raises PlatformError where topic or group is not there."""
    from kafka import TopicPartition
    from kafka.admin import OffsetSpec

    if topic not in admin.list_topics():
        raise PlatformError(f"there is no topic {topic}; `plinth topics list` shows what there is")
    groups = sorted(found["group_id"] for found in admin.list_groups())
    if group not in groups:
        raise PlatformError(f"there is no consumer group {group}; there are {', '.join(groups) or 'none'}")
    (described,) = admin.describe_topics([topic])
    places = [TopicPartition(topic, p["partition_index"]) for p in described["partitions"]]
    first = admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.EARLIEST))
    end = admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.LATEST))
    kept = {tp: at.offset for tp, at in admin.list_group_offsets([group])[group].items() if at.offset >= 0}
    if not any(place in kept for place in places):
        raise PlatformError(f"the group {group} has never read {topic}")
    return {
        place.partition: Standing(first[place].offset, end[place].offset, kept.get(place)) for place in places
    }


def members(admin: Admin, group: str) -> list[str]:
    """Who is in the group: names of processes where they have given them, else of clients."""
    found = admin.describe_groups([group])[group]["members"]
    return sorted(member.get("group_instance_id") or member["client_id"] for member in found)


def wait_for_leaving(
    admin: Admin, group: str, seconds: float = LEAVING_SECONDS, waiting: Callable[[], None] = lambda: None
) -> list[str]:
    """Who is still in the group after so long; `waiting` is called once if anybody is there at first."""
    deadline = time.monotonic() + seconds
    here = members(admin, group)
    if here:
        waiting()
    while here and time.monotonic() < deadline:
        time.sleep(0.25)
        here = members(admin, group)
    return here


def move(admin: Admin, group: str, topic: str, skips: list[Skip]) -> None:
    """Let the group go on behind what is skipped; PlatformError where the broker refuses any of it."""
    from kafka import TopicPartition
    from kafka.structs import OffsetAndMetadata

    wanted = {TopicPartition(topic, skip.partition): OffsetAndMetadata(skip.end, "", -1) for skip in skips}
    for place, error in admin.alter_group_offsets(group, wanted).items():
        if error.errno:
            raise PlatformError(f"partition {place.partition} was not moved: {error.__name__}; try again")
