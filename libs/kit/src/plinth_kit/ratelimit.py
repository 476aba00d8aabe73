"""Rate limit: a token bucket, as a pure function of state and time, and a bounded table of buckets."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class BucketState(NamedTuple):
    """Tokens left, and the time in seconds at which that was so."""

    tokens: float
    updated: float


class TokenBucket(msgspec.Struct, frozen=True):
    """Admits `rate` requests a second on average and up to `burst` at once.

    In any interval of t seconds at most burst + rate·t requests pass.
    """

    rate: float
    burst: float

    def full(self, now: float) -> BucketState:
        """The state of a caller not seen before."""
        return BucketState(self.burst, now)

    def take(self, state: BucketState, now: float) -> tuple[BucketState, float]:
        """The state after one request, and 0.0 if it is admitted, else the seconds until one would be.

        A refused request costs nothing. A clock that goes back refills nothing.
        """
        tokens, updated = state
        if now > updated:
            tokens += (now - updated) * self.rate
            updated = now
            if tokens > self.burst:
                tokens = self.burst
        if tokens >= 1.0:
            return BucketState(tokens - 1.0, updated), 0.0
        return BucketState(tokens, updated), (1.0 - tokens) / self.rate


class RateLimiter:
    """One bucket a caller. At most `max_callers` are kept; the least recently seen one is forgotten."""

    def __init__(self, bucket: TokenBucket, max_callers: int = 10_000) -> None:
        self._bucket = bucket
        self._max_callers = max_callers
        self._states: dict[str, BucketState] = {}

    def __len__(self) -> int:
        return len(self._states)

    def admit(self, caller: str, now: float) -> float:
        """0.0 if the caller's request is admitted at `now` (seconds), else the seconds to wait."""
        state = self._states.pop(caller, None) or self._bucket.full(now)
        if len(self._states) >= self._max_callers:
            del self._states[next(iter(self._states))]
        self._states[caller], wait = self._bucket.take(state, now)
        return wait
