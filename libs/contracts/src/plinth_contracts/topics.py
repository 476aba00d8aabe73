"""Topics as data: one YAML each in `topics/`, read by whoever creates, documents or checks them."""

from __future__ import annotations

from importlib.resources import files
from typing import Annotated, Literal, NamedTuple

import msgspec
import yaml
from msgspec import Meta, Struct

DEAD_LETTER_HOURS = 30 * 24

Name = Annotated[str, Meta(pattern=r"^[a-z]+(\.[a-z]+)+$")]


class TopicSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One topic. `key` names the field whose value is the message key; order is kept per key."""

    name: Name
    description: str
    key: str
    partitions: Annotated[int, Meta(ge=1, le=256)]
    retention_hours: Annotated[int, Meta(ge=-1)]
    cleanup_policy: Literal["delete", "compact"] = "delete"
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    owner: str

    @property
    def dead_letters(self) -> str:
        """Topic for messages of this topic that could not be processed (one partition)."""
        return f"{self.name}.dlq"

    @property
    def wanted(self) -> tuple[Wanted, Wanted]:
        """What a broker is to have: the topic, and its dead letters in one partition.

        Those are kept for 30 days at least, so that there is time to repair the reader.
        """
        for_ever = self.retention_hours < 0
        dead_hours = -1 if for_ever else max(self.retention_hours, DEAD_LETTER_HOURS)
        return (
            Wanted(self.name, self.partitions, _config(self.cleanup_policy, self.retention_hours)),
            Wanted(self.dead_letters, 1, _config("delete", dead_hours)),
        )


class Wanted(NamedTuple):
    """A topic as Kafka's admin clients take it: name, partitions, settings by Kafka's names."""

    name: str
    partitions: int
    config: dict[str, str]


def _config(cleanup_policy: str, hours: int) -> dict[str, str]:
    """`hours` below 0: for ever."""
    milliseconds = -1 if hours < 0 else hours * 3_600_000
    return {"cleanup.policy": cleanup_policy, "retention.ms": str(milliseconds)}


def load() -> list[TopicSpec]:
    """All topics, by name. A file that does not fit the schema raises msgspec.ValidationError."""
    folder = files("plinth_contracts") / "topics"
    texts = sorted((p.name, p.read_text()) for p in folder.iterdir() if p.name.endswith(".yaml"))
    return [msgspec.convert(yaml.safe_load(text), TopicSpec) for _, text in texts]


def by_name() -> dict[str, TopicSpec]:
    """All topics as a mapping from their names."""
    return {spec.name: spec for spec in load()}
