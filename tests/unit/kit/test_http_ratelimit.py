import pytest
from hypothesis import given
from hypothesis import strategies as st

from plinth_kit.ratelimit import BucketState, RateLimiter, TokenBucket

BUCKET = TokenBucket(rate=2.0, burst=3.0)


def test_a_burst_passes_then_the_wait_is_one_token() -> None:
    state = BUCKET.full(10.0)
    for _ in range(3):
        state, wait = BUCKET.take(state, 10.0)
        assert wait == 0.0

    state, wait = BUCKET.take(state, 10.0)
    assert wait == 0.5
    assert BUCKET.take(state, 10.5)[1] == 0.0


def test_a_pause_fills_no_more_than_the_burst() -> None:
    state, _ = BUCKET.take(BucketState(0.0, 0.0), 1_000.0)

    assert state.tokens == 2.0


def test_a_clock_that_goes_back_refills_nothing() -> None:
    state, wait = BUCKET.take(BucketState(0.0, 100.0), 50.0)

    assert wait == 0.5
    assert state == BucketState(0.0, 100.0)


@given(
    rate=st.floats(0.1, 1_000),
    burst=st.integers(1, 50),
    gaps=st.lists(st.floats(0, 2), min_size=1, max_size=80),
)
def test_no_interval_admits_more_than_burst_plus_rate_times_time(
    rate: float, burst: int, gaps: list[float]
) -> None:
    bucket = TokenBucket(rate, burst)
    state, now, admitted = bucket.full(0.0), 0.0, []
    for gap in gaps:
        now += gap
        state, wait = bucket.take(state, now)
        if wait == 0.0:
            admitted.append(now)

    for first in range(len(admitted)):
        for last in range(first, len(admitted)):
            allowed = burst + rate * (admitted[last] - admitted[first])
            assert last - first + 1 <= allowed + 1e-6


@given(rate=st.floats(0.1, 1_000), tokens=st.floats(0, 0.999), now=st.floats(0, 1e6))
def test_after_the_named_wait_a_request_passes(rate: float, tokens: float, now: float) -> None:
    bucket = TokenBucket(rate, 5)
    state, wait = bucket.take(BucketState(tokens, now), now)

    assert wait > 0.0
    assert bucket.take(state, now + wait + 1e-6)[1] == pytest.approx(0.0, abs=1e-6)


def test_callers_do_not_share_a_bucket() -> None:
    limiter = RateLimiter(TokenBucket(1.0, 1.0))

    assert limiter.admit("a", 0.0) == 0.0
    assert limiter.admit("a", 0.0) == 1.0
    assert limiter.admit("b", 0.0) == 0.0


def test_the_table_is_bounded_and_forgets_who_was_quiet_longest() -> None:
    limiter = RateLimiter(TokenBucket(0.001, 1.0), max_callers=2)
    for caller in ("a", "b", "a", "c"):
        limiter.admit(caller, 0.0)

    assert len(limiter) == 2
    assert limiter.admit("a", 0.0) > 0.0
    assert limiter.admit("b", 0.0) == 0.0
