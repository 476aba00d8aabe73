"""How far features are behind a stream that is sent faster than time passes.

Sent flat out, an hour of the stream takes a fraction of a second. Features that lag by as much would be those
of an hour ago, which no live platform would serve; so a replay waits for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
from prometheus_client.parser import text_string_to_metric_families

METRIC = "plinth_features_newest_event_seconds"
VIEW = "terminal_labels"
ASK_EVERY_S = 0.1


class Freshness:
    """Asks the feature engine at `url` for the newest label that it has folded, a few times a second.

    An engine that does not answer, or has folded none, counts as not behind.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = httpx.Client(base_url=url, timeout=2)
        self._clock = clock
        self._asked = float("-inf")
        self._newest: float | None = None

    def behind(self, newest_ms: int) -> float:
        """Stream seconds between the newest label sent, in milliseconds, and the newest one folded."""
        if self._clock() - self._asked >= ASK_EVERY_S:
            self._newest = self._ask()
            self._asked = self._clock()
        return 0.0 if self._newest is None else max(0.0, newest_ms / 1000 - self._newest)

    def _ask(self) -> float | None:
        try:
            page = self._client.get("/metrics").text
        except httpx.TransportError:
            return None
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if sample.name == METRIC and sample.labels.get("view") == VIEW:
                    return float(sample.value)
        return None
