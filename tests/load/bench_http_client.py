"""HTTP load from a process of its own: keep-alive connections over uvloop, no HTTP library in between.

Reads a `Job` as JSON from standard input, prints an `Outcome` as JSON. The connections take requests from one
queue. With a rate, requests are due on a schedule and latency counts from the time one was due, so that a
slow answer is not hidden by the requests that it holds back.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from itertools import islice

import msgspec
import uvloop
from bench_stream import transactions
from msgspec import Struct


class Job(Struct):
    """n requests of `batch` transactions each (1: the single route); rate in requests/s, 0: flat out."""

    host: str
    port: int
    key: str
    prefix: str
    n: int
    batch: int = 1
    rate: float = 0.0
    connections: int = 32


class Outcome(Struct):
    """Latencies in seconds in the order of the requests, and what the answers said.

    transactions: decided for the first time; wrong: answers other than 200 or of other transactions.
    """

    latencies: list[float]
    elapsed: float
    transactions: int
    wrong: list[str]


class _Decision(Struct):
    transaction_id: str
    duplicate: bool


class _Decisions(Struct):
    decisions: list[_Decision]


_one = msgspec.json.Decoder(_Decision).decode
_many = msgspec.json.Decoder(_Decisions).decode


class _Run:
    def __init__(self, job: Job) -> None:
        self.job = job
        self.outcome = Outcome([0.0] * job.n, 0.0, 0, [])
        self._bodies = [(ids, self._request(body)) for ids, body in _bodies(job)]
        self._next = 0

    async def run(self) -> Outcome:
        streams = [
            await asyncio.open_connection(self.job.host, self.job.port) for _ in range(self.job.connections)
        ]
        start = time.perf_counter()
        await asyncio.gather(*(self._connection(*stream, start) for stream in streams))
        self.outcome.elapsed = time.perf_counter() - start
        return self.outcome

    async def _connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, start: float
    ) -> None:
        while self._next < self.job.n:
            number, self._next = self._next, self._next + 1
            due = time.perf_counter()
            if self.job.rate:
                due = start + number / self.job.rate
                await asyncio.sleep(due - time.perf_counter())
            ids, request = self._bodies[number]
            writer.write(request)
            status, body = await _answer(reader)
            self.outcome.latencies[number] = time.perf_counter() - due
            self._check(ids, status, body)
        writer.close()

    def _check(self, ids: list[str], status: int, body: bytes) -> None:
        if status != 200:
            self.outcome.wrong.append(f"{status}: {body[:200]!r}")
            return
        decisions = [_one(body)] if self.job.batch == 1 else _many(body).decisions
        if [decision.transaction_id for decision in decisions] != ids:
            self.outcome.wrong.append(f"answer to other transactions: {body[:200]!r}")
        self.outcome.transactions += sum(not decision.duplicate for decision in decisions)

    def _request(self, body: bytes) -> bytes:
        path = "/v1/decisions" if self.job.batch == 1 else "/v1/decisions/batch"
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {self.job.host}\r\nauthorization: Bearer {self.job.key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def _bodies(job: Job) -> Iterator[tuple[list[str], bytes]]:
    rows = iter(transactions(job.prefix, job.n * job.batch))
    for _ in range(job.n):
        part = list(islice(rows, job.batch))
        body = part[0] if job.batch == 1 else {"transactions": part}
        yield [one.transaction_id for one in part], msgspec.json.encode(body)


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    at = head.index(b"content-length:") + len(b"content-length:")
    length = int(head[at : head.index(b"\r\n", at)])
    return int(head[9:12]), await reader.readexactly(length)


def main() -> None:
    """Run the job on standard input."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(_Run(job).run())))


if __name__ == "__main__":
    main()
