"""What a runner tells about its work, without saying to whom."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from plinth_kit.kafka.message import Handled, Message, Partition


class Observer(Protocol):
    """Called from the runner's thread; must be quick and must not raise."""

    def handled(self, batch: Sequence[Message], handled: Handled, seconds: float) -> None:
        """A batch was processed and its output enqueued; `seconds` were spent in the handler."""

    def committed(self, offsets: Mapping[Partition, int]) -> None:
        """These next offsets are with the broker."""

    def retrying(self, needs: str) -> None:
        """Work waits for the neighbour `needs` and is tried again later."""

    def rewound(self, partitions: Collection[Partition]) -> None:
        """The handler asked to read these topics from the beginning."""

    def lag(self, lags: Mapping[Partition, int]) -> None:
        """Messages not yet polled, per assigned partition."""


class NullObserver:
    """Tells nobody."""

    def handled(self, batch: Sequence[Message], handled: Handled, seconds: float) -> None: ...

    def committed(self, offsets: Mapping[Partition, int]) -> None: ...

    def retrying(self, needs: str) -> None: ...

    def rewound(self, partitions: Collection[Partition]) -> None: ...

    def lag(self, lags: Mapping[Partition, int]) -> None: ...
