"""Callers share batches, get their own results, and are turned away when too many wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from fraud_scorer.gatherer import Gatherer
from plinth_kit.problems import Problem


class Work:
    """Doubles numbers, once it may; remembers its batches."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.begun = threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, items: list[int]) -> Sequence[int]:
        self.batches.append(items)
        self.begun.set()
        self.may.wait(10)
        if 13 in items:
            raise ValueError("unlucky")
        return [2 * item for item in items]


async def held(work: Work, gatherer: Gatherer[int, int]) -> asyncio.Task[Sequence[int]]:
    """A first call that is being worked on and does not end before it may."""
    first = asyncio.create_task(gatherer([1]))
    await asyncio.to_thread(work.begun.wait, 10)
    return first


def test_what_comes_while_a_batch_is_worked_on_makes_the_next_one() -> None:
    async def run() -> None:
        work = Work()
        gatherer: Gatherer[int, int] = Gatherer(work, "test", most=4)
        first = await held(work, gatherer)
        others = [asyncio.create_task(gatherer(items)) for items in ([2, 3], [], [4, 5], [6])]
        await asyncio.sleep(0)
        work.may.set()
        assert [list(await task) for task in (first, *others)] == [[2], [4, 6], [], [8, 10], [12]]
        assert work.batches == [[1], [2, 3, 4, 5], [6]]

    asyncio.run(run())


def test_an_error_reaches_the_callers_of_its_batch_and_nobody_else() -> None:
    async def run() -> None:
        work = Work()
        gatherer: Gatherer[int, int] = Gatherer(work, "test", most=2)
        first = await held(work, gatherer)
        others = [asyncio.create_task(gatherer(items)) for items in ([13], [2], [3])]
        await asyncio.sleep(0)
        work.may.set()
        results = await asyncio.gather(first, *others, return_exceptions=True)
        assert [type(r) for r in results] == [list, ValueError, ValueError, list]

    asyncio.run(run())


def test_beyond_the_longest_line_callers_are_turned_away_and_then_served_again() -> None:
    async def run() -> None:
        work = Work()
        gatherer: Gatherer[int, int] = Gatherer(work, "test", most=10, longest=2)
        first = await held(work, gatherer)
        waiting = asyncio.create_task(gatherer([2, 3]))
        await asyncio.sleep(0)
        with pytest.raises(Problem) as refused:
            await gatherer([4])
        assert refused.value.status == 503
        work.may.set()
        assert [*await first, *await waiting, *await gatherer([4])] == [2, 4, 6, 8]

    asyncio.run(run())


def test_a_caller_that_gives_up_leaves_the_others_their_results() -> None:
    async def run() -> None:
        work = Work()
        gatherer: Gatherer[int, int] = Gatherer(work, "test", most=10)
        first = await held(work, gatherer)
        gone, stays = (asyncio.create_task(gatherer([n])) for n in (2, 3))
        await asyncio.sleep(0)
        gone.cancel()
        work.may.set()
        assert (list(await first), list(await stays)) == ([2], [6])

    asyncio.run(run())


def test_batches_begin_at_a_distance_and_take_what_has_come_meanwhile() -> None:
    async def run() -> None:
        work = Work()
        work.may.set()
        gatherer: Gatherer[int, int] = Gatherer(work, "test", most=10, spacing=1.0)
        await gatherer([1])
        second = asyncio.create_task(gatherer([2]))
        for _ in range(10):
            await asyncio.sleep(0)
        await asyncio.gather(second, gatherer([3]))
        assert work.batches == [[1], [2, 3]]

    asyncio.run(run())
