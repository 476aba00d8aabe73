"""Work in batches of whatever has come since the last one began; without one shortly before, at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from plinth_kit.problems import Problem

T = TypeVar("T")
R = TypeVar("R")


class Gatherer(Generic[T, R]):
    """Calls `work` in a thread of its own, one call at a time, for many callers at once.

    `work` gives one result per item, in order; what it raises, all callers of the batch get. `most`: items
    after which a batch takes no more callers. `spacing`: least seconds from the beginning of a batch to the
    next, where a few large batches cost less than many small ones. `longest`: items that may wait; beyond
    that callers get a Problem 503, so that the line never grows longer than can be served. Belongs to one
    event loop.
    """

    def __init__(
        self,
        work: Callable[[list[T]], Sequence[R]],
        name: str,
        *,
        most: int,
        spacing: float = 0.0,
        longest: int = 20_000,
    ) -> None:
        self._work = work
        self._most = most
        self._spacing, self._next = spacing, 0.0
        self._longest = longest
        self._waiting: list[tuple[Sequence[T], asyncio.Future[Sequence[R]]]] = []
        self._items = 0
        self._running: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, name)

    async def __call__(self, items: Sequence[T]) -> Sequence[R]:
        """Results of these items."""
        if self._items + len(items) > self._longest:
            raise Problem(503, detail="too many requests wait already", headers=[(b"retry-after", b"1")])
        future: asyncio.Future[Sequence[R]] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, future))
        self._items += len(items)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            if (early := self._next - loop.time()) > 0:
                await asyncio.sleep(early)
            self._next = loop.time() + self._spacing
            batch = self._take()
            items = [item for part, _ in batch for item in part]
            try:
                results = await loop.run_in_executor(self._thread, self._work, items)
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            start = 0
            for part, future in batch:
                if not future.done():
                    future.set_result(results[start : start + len(part)])
                start += len(part)

    def _take(self) -> list[tuple[Sequence[T], asyncio.Future[Sequence[R]]]]:
        callers = size = 0
        while callers < len(self._waiting) and size < self._most:
            size += len(self._waiting[callers][0])
            callers += 1
        batch, self._waiting = self._waiting[:callers], self._waiting[callers:]
        self._items -= size
        return batch
