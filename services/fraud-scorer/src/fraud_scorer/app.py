"""HTTP edge: parse, decide in micro-batches, answer.

Hot routes gather what has come while the last batch was being decided: no timer, no waiting when idle.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from threading import Lock
from typing import Annotated

import msgspec
import redis
from fastapi import Depends, FastAPI
from fastapi import Response as FastResponse
from msgspec import Meta, Struct
from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy.exc import OperationalError

from fraud_scorer.core.decision import Answer, answer
from fraud_scorer.events import message, outgoing
from fraud_scorer.ledger import Ledger, Recorded
from fraud_scorer.metrics import LabelMetrics, ScorerMetrics
from fraud_scorer.model import ModelSource
from fraud_scorer.service import Arrival, Decided, FraudScorer
from plinth_contracts.events import LabelSource, TransactionReceived
from plinth_kit import tracing
from plinth_kit.auth import Role
from plinth_kit.fastapi_adapter import requires
from plinth_kit.http import HotRoute, Request, Response
from plinth_kit.kafka.message import Outgoing
from plinth_kit.kafka.ports import Broker, DeliveryFailed, DeliveryPending
from plinth_kit.problems import Problem, decode

MAX_BATCH = 1000
FLUSH_SECONDS = 2.0


class Batch(Struct, frozen=True):
    """Body of `POST /v1/decisions/batch`."""

    transactions: Annotated[tuple[TransactionReceived, ...], Meta(min_length=1, max_length=MAX_BATCH)]


class Answers(Struct, frozen=True):
    """Answer of `POST /v1/decisions/batch`, in the order of the request."""

    decisions: tuple[Answer, ...]


class LabelIn(BaseModel):
    """Body of `POST /v1/labels`. The decision is named by its id or by that of its transaction."""

    decision_id: str | None = Field(default=None, max_length=64)
    transaction_id: str | None = Field(default=None, max_length=64)
    label: bool = Field(description="true: it was fraud")
    source: LabelSource = LabelSource.ANALYST
    observed_at: AwareDatetime


class LabelOut(BaseModel):
    """What was recorded."""

    label_id: str
    decision_id: str
    transaction_id: str
    label: bool
    previous_label: bool | None


class EventLog:
    """Kafka as the API sees it: events are there when `publish` returns. One per thread."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._producer = broker.producer()

    def publish(self, outgoing: Sequence[Outgoing]) -> None:
        """Send and wait until the broker has them; Problem 503 when it is away."""
        try:
            self._producer.produce(outgoing)
            self._producer.flush(FLUSH_SECONDS)
        except DeliveryFailed as error:
            if not isinstance(error, DeliveryPending):
                self._producer = self._broker.producer()
            raise Problem(503, detail="Kafka is away, nothing could be logged: send it again") from error


@contextmanager
def database() -> Iterator[None]:
    """A database that is away becomes a Problem 503."""
    try:
        yield
    except OperationalError as error:
        raise Problem(503, detail="the database is away: try again") from error


class Batcher:
    """Decides transactions in a thread of its own, as many at once as have come meanwhile."""

    def __init__(
        self,
        scorer: FraudScorer,
        models: ModelSource,
        log: EventLog,
        metrics: ScorerMetrics,
        names: Sequence[str],
        model_name: str,
        now: Callable[[], datetime],
    ) -> None:
        self._scorer = scorer
        self._models = models
        self._log = log
        self._metrics = metrics
        self._names = names
        self._model_name = model_name
        self._now = now
        self._waiting: list[tuple[Sequence[Arrival], bytes, asyncio.Future[list[Decided]]]] = []
        self._running: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "decide")

    async def decide(self, arrivals: Sequence[Arrival], trace: bytes) -> list[Decided]:
        """Decisions in order; Problem 503 when a neighbour without which nothing can be decided is away."""
        future: asyncio.Future[list[Decided]] = asyncio.get_running_loop().create_future()
        self._waiting.append((arrivals, trace, future))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            arrivals = [arrival for part, _, _ in batch for arrival in part]
            traces = [trace for part, trace, _ in batch for _ in part]
            try:
                decided = await loop.run_in_executor(self._thread, self._decide, arrivals, traces)
            except Exception as error:
                for _, _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            start = 0
            for part, _, future in batch:
                if not future.done():
                    future.set_result(decided[start : start + len(part)])
                start += len(part)

    def _decide(self, arrivals: Sequence[Arrival], traces: Sequence[bytes]) -> list[Decided]:
        model = self._models.current
        if model is None:
            raise Problem(503, detail=f"no model to serve: {self._models.problem}")
        try:
            decided = self._scorer.decide(arrivals, model, self._now())
        except redis.RedisError as error:
            raise Problem(503, detail="Redis is away, features cannot be read: try again") from error
        out: list[Outgoing] = []
        for one, trace in zip(decided, traces, strict=True):
            extra = [("traceparent", trace)]
            key = one.transaction.customer_id.encode()
            transaction_id = one.transaction.transaction_id
            out.append(message(one.transaction, key, transaction_id, one.decision.known_ts, extra))
            out += outgoing(one, self._model_name, self._names, extra)
        self._log.publish(out)
        self._metrics.decided(decided, model.version)
        return decided


def hot_routes(batcher: Batcher, model_name: str) -> dict[tuple[str, str], HotRoute]:
    """`POST /v1/decisions` and `POST /v1/decisions/batch`."""
    read_one = msgspec.json.Decoder(TransactionReceived).decode
    read_batch = msgspec.json.Decoder(Batch).decode
    encode = msgspec.json.Encoder().encode

    async def one(request: Request) -> Response:
        arrival = Arrival(decode(read_one, request.body), received=time.time())
        (decided,) = await batcher.decide([arrival], tracing.header(request.trace)[1])
        return Response(200, encode(answer(decided.decision, model_name, duplicate=decided.duplicate)))

    async def many(request: Request) -> Response:
        received = time.time()
        arrivals = [Arrival(t, received=received) for t in decode(read_batch, request.body).transactions]
        decided = await batcher.decide(arrivals, tracing.header(request.trace)[1])
        answers = tuple(answer(d.decision, model_name, duplicate=d.duplicate) for d in decided)
        return Response(200, encode(Answers(answers)))

    return {
        ("POST", "/v1/decisions"): HotRoute(
            one, Role.OPERATOR, "Decide one transaction", TransactionReceived, Answer
        ),
        ("POST", "/v1/decisions/batch"): HotRoute(
            many, Role.OPERATOR, "Decide up to 1,000 transactions", Batch, Answers
        ),
    }


def api(ledger: Ledger, broker: Broker, metrics: LabelMetrics) -> FastAPI:
    """The ordinary routes: labels, and decisions looked up."""
    log, one_at_a_time = EventLog(broker), Lock()
    app = FastAPI(title="fraud-scorer", version="1")

    def found(some_id: str) -> Recorded:
        with database():
            recorded = ledger.find(some_id)
        if recorded is None:
            raise Problem(404, detail=f"no decision {some_id!r} is recorded (yet)")
        return recorded

    @app.get("/v1/decisions/{some_id}", dependencies=[Depends(requires(Role.VIEWER))])
    def decision(some_id: str) -> FastResponse:
        """A decision by its id or its transaction's, with the last label known of it."""
        return FastResponse(msgspec.json.encode(found(some_id)), media_type="application/json")

    @app.post("/v1/labels", status_code=202, dependencies=[Depends(requires(Role.OPERATOR))])
    def label(body: LabelIn) -> LabelOut:
        """The truth about a decision. May be sent again (changes nothing) or revised."""
        some_id = body.decision_id or body.transaction_id
        if not some_id:
            raise Problem(422, detail="decision_id or transaction_id is needed")
        recorded = found(some_id)
        with database():
            event, judged = ledger.add_label(
                recorded, label_id(recorded, body), float(body.label), body.source, body.observed_at
            )
        metrics.judged(judged)
        with one_at_a_time:
            log.publish([message(event, event.entity_id.encode(), event.label_id, event.known_ts)])
        return LabelOut(
            label_id=event.label_id,
            decision_id=recorded.decision_id,
            transaction_id=recorded.transaction_id,
            label=bool(event.label),
            previous_label=None if event.previous_label is None else bool(event.previous_label),
        )

    return app


def label_id(decision: Recorded, body: LabelIn) -> str:
    """Equal for the same statement sent twice, so that it counts once."""
    said = f"{decision.transaction_id}|{body.label}|{body.source.value}|{body.observed_at.isoformat()}"
    return "label-" + hashlib.sha256(said.encode()).hexdigest()[:24]
