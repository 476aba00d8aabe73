"""HTTP edge: parse, decide in micro-batches, publish, answer."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Path
from fastapi import Response as FastResponse
from msgspec import Meta, Struct
from msgspec.structs import replace
from pydantic import BaseModel, Field

from fraud_scorer.core.answer import Answer, Answers
from fraud_scorer.core.decision import Decision
from fraud_scorer.core.labels import label_id
from fraud_scorer.edge import ObservedAt, SomeId, database
from fraud_scorer.events import OTHER_PAYMENT, outgoing, received
from fraud_scorer.gatherer import Gatherer
from fraud_scorer.ledger import Ledger, Recorded
from fraud_scorer.ledger_metrics import LabelMetrics
from fraud_scorer.metrics import ScorerMetrics
from fraud_scorer.records import message
from fraud_scorer.service import Arrival, Decided, FraudScorer, Serving
from plinth_contracts import codec
from plinth_contracts.events import LabelSource, TransactionReceived, check_not_ahead
from plinth_kit import tracing
from plinth_kit.auth import Role
from plinth_kit.fastapi_adapter import answers, requires
from plinth_kit.http import HotRoute, Request, Response
from plinth_kit.kafka.message import Outgoing
from plinth_kit.kafka.outbox import NotKept, Outbox
from plinth_kit.problems import FieldError, Problem, decode, invalid

MAX_BATCH = 1000
SPACING_S = 0.007
"""At 500 requests a second the steps of each alone kept two cores busy; four at a time answer sooner."""
LOGGED_KEPT = 100_000
"""Transactions logged last that a process remembers itself, for repeats that come before the state knows."""
KAFKA = "kafka"
"""What an answer lacks whose events are still on disk, as told in `degraded`."""


class BatchIn(Struct, frozen=True):
    """Body of `POST /v1/decisions/batch`."""

    transactions: Annotated[tuple[TransactionReceived, ...], Meta(min_length=1, max_length=MAX_BATCH)]


class BatchOut(Struct, frozen=True):
    """Answer of `POST /v1/decisions/batch`, in the order of the request."""

    decisions: tuple[Answer, ...]


class LabelIn(BaseModel):
    """Body of `POST /v1/labels`. The decision is named by its id, by that of its transaction, or by both."""

    decision_id: SomeId | None = None
    transaction_id: SomeId | None = None
    label: bool = Field(strict=True, description="true: it was fraud")
    source: LabelSource = LabelSource.ANALYST
    observed_at: ObservedAt


class LabelOut(BaseModel):
    """What was recorded."""

    label_id: str
    decision_id: str
    transaction_id: str
    label: bool
    previous_label: bool | None


class Decider:
    """Decides and publishes for the HTTP routes, each in a thread of its own.

    A request is published in two rounds; each round takes the first part of some requests and the second
    of others.
    """

    def __init__(
        self,
        scorer: FraudScorer,
        serving: Callable[[], Serving],
        outbox: Outbox,
        metrics: ScorerMetrics,
        names: Sequence[str],
        now: Callable[[], datetime],
    ) -> None:
        self._scorer = scorer
        self._serving = serving
        self._outbox = outbox
        self._metrics = metrics
        self._names = names
        self._now = now
        self._deciding = Gatherer(self._decide, "decide", most=MAX_BATCH, spacing=SPACING_S)
        self._logged: OrderedDict[str, None] = OrderedDict()
        self._publishing = Gatherer(self._publish, "publish", most=MAX_BATCH)

    async def decide(self, arrivals: Sequence[Arrival], trace: bytes) -> tuple[Sequence[Decided], bool]:
        """Decisions in order, and whether Kafka has them; if not they are on disk and follow later.

        A transaction follows its decision: whoever finds it in the log knows that it is decided. Of another
        payment under a decided id nobody is told.
        """
        decided = await self._deciding(arrivals)
        mine = [one for one in decided if not one.other]
        await self._publishing([(one, trace, False) for one in mine])
        delivered = await self._publishing([(one, trace, True) for one in mine])
        return decided, all(delivered)

    def _decide(self, arrivals: list[Arrival]) -> list[Decided]:
        serving = self._serving()
        batch = self._scorer.decide(arrivals, serving, self._now())
        self._metrics.decided(batch, serving)
        return batch.decided

    def _publish(self, batch: list[tuple[Decided, bytes, bool]]) -> list[bool]:
        """Of each the events of its decision, or, in the second round, the transaction itself.

        One that is in the log is not sent again: rows that have forgotten it would count it twice.
        """
        out: list[Outgoing] = []
        logging: dict[str, Decision] = {}
        for one, trace, second in batch:
            extra, decision = [("traceparent", trace)], one.decision
            if not second:
                out += outgoing(one, self._names, extra)
                continue
            some_id = decision.transaction_id
            if not (decision.logged or some_id in self._logged or some_id in logging):
                logging[some_id] = decision
                out.append(received(one.transaction, decision.known_ts, extra))
        delivered = publish(self._outbox, out)
        self._logged.update(dict.fromkeys(logging))
        while len(self._logged) > LOGGED_KEPT:
            self._logged.popitem(last=False)
        self._scorer.remember_logged(list(logging.values()))
        return [delivered] * len(batch)


def publish(outbox: Outbox, events: Sequence[Outgoing]) -> bool:
    """See Outbox.publish; where neither Kafka nor the disk takes events a Problem 503."""
    try:
        return outbox.publish(events)
    except NotKept as error:
        raise Problem(503, detail="neither Kafka nor the disk takes events: send it again") from error


def hot_routes(decider: Decider, answers: Answers) -> dict[tuple[str, str], HotRoute]:
    """`POST /v1/decisions` and `POST /v1/decisions/batch`."""
    read_one, read_batch = codec.decoder(TransactionReceived), codec.decoder(BatchIn)
    encode = msgspec.json.Encoder().encode

    async def decide(
        transactions: Sequence[TransactionReceived], request: Request, where: Callable[[int], str]
    ) -> list[Answer]:
        arrived = time.time()
        try:
            for transaction in transactions:
                check_not_ahead("event_ts", transaction.event_ts, datetime.fromtimestamp(arrived, UTC))
        except ValueError as error:
            raise invalid([FieldError("event_ts", str(error))]) from error
        arrivals = [Arrival(transaction, received=arrived) for transaction in transactions]
        decided, delivered = await decider.decide(arrivals, tracing.header(request.trace)[1])
        if refused := [at for at, one in enumerate(decided) if one.other]:
            raise invalid([FieldError(where(at), OTHER_PAYMENT) for at in refused])
        made = [answers.of(one.decision, duplicate=one.duplicate) for one in decided]
        return made if delivered else [replace(a, degraded=(*a.degraded, KAFKA)) for a in made]

    async def one(request: Request) -> Response:
        (answer,) = await decide([decode(read_one, request.body)], request, lambda _: "transaction_id")
        return Response(200, encode(answer))

    async def many(request: Request) -> Response:
        transactions = decode(read_batch, request.body).transactions
        made = await decide(transactions, request, lambda at: f"transactions[{at}].transaction_id")
        return Response(200, encode(BatchOut(tuple(made))))

    return {
        ("POST", "/v1/decisions"): HotRoute(
            one, Role.OPERATOR, "Decide one transaction", TransactionReceived, Answer, (503,)
        ),
        ("POST", "/v1/decisions/batch"): HotRoute(
            many, Role.OPERATOR, "Decide up to 1,000 transactions", BatchIn, BatchOut, (503,)
        ),
    }


def api(ledger: Ledger, outbox: Outbox, metrics: LabelMetrics, routers: Sequence[APIRouter] = ()) -> FastAPI:
    """The ordinary routes: labels, and decisions looked up; more in `routers`."""
    app = FastAPI(title="fraud-scorer", version="1", strict_content_type=False)  # as the hot routes
    for router in routers:
        app.include_router(router)

    @app.get("/v1/decisions/{some_id}", dependencies=[Depends(requires(Role.VIEWER))])
    @answers(Recorded, 404, 503)
    def decision(some_id: Annotated[SomeId, Path()]) -> FastResponse:
        """A decision by its id or its transaction's, with the last label known of it."""
        with database():
            recorded = ledger.find(decision_id=some_id) or ledger.find(transaction_id=some_id)
        if recorded is None:
            raise Problem(404, detail=f"no decision {some_id!r} is recorded (yet)")
        return FastResponse(msgspec.json.encode(recorded), media_type="application/json")

    @app.post("/v1/labels", status_code=202, dependencies=[Depends(requires(Role.OPERATOR))])
    @answers(None, 404, 503)
    def label(body: LabelIn) -> LabelOut:
        """The truth about a decision. May be sent again (changes nothing) or revised."""
        if body.decision_id is None and body.transaction_id is None:
            raise invalid([FieldError("transaction_id", "this or decision_id is needed")])
        with database():
            recorded = ledger.find(decision_id=body.decision_id, transaction_id=body.transaction_id)
        if recorded is None:
            named = " and ".join(repr(one) for one in (body.decision_id, body.transaction_id) if one)
            raise Problem(404, detail=f"no decision {named} is recorded (yet)")
        with database():
            event, judged = ledger.add_label(
                recorded, _label_id(recorded, body), float(body.label), body.source, body.observed_at
            )
        metrics.judged(judged)
        publish(outbox, [message(event, event.entity_id.encode(), event.label_id, event.known_ts)])
        return LabelOut(
            label_id=event.label_id,
            decision_id=recorded.decision_id,
            transaction_id=recorded.transaction_id,
            label=bool(event.label),
            previous_label=None if event.previous_label is None else bool(event.previous_label),
        )

    return app


def _label_id(decision: Recorded, body: LabelIn) -> str:
    return label_id(decision.transaction_id, body.label, body.source.value, body.observed_at.isoformat())
