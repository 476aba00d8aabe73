"""The fraud scorer in this process, over a real Redis and a real Postgres, and its three Kafka handlers."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import redis
from fixtures_platform import ROOT, feature_service
from hostile_values import Call
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from feature_store.consumer import EngineHandler
from feature_store.metrics import EngineMetrics
from fraud_scorer import app, cases_api, policy_file
from fraud_scorer.cases import Cases
from fraud_scorer.consumer import TransactionHandler
from fraud_scorer.core.answer import Answers
from fraud_scorer.core.cases import EscalationPolicy
from fraud_scorer.core.decision import Version
from fraud_scorer.ledger import Ledger
from fraud_scorer.ledger_metrics import CaseMetrics, LabelMetrics
from fraud_scorer.metrics import ScorerMetrics
from fraud_scorer.recorder import RecordHandler
from fraud_scorer.service import FraudScorer, Scores, Serving
from fraud_scorer.store import RedisState
from plinth_contracts import topics
from plinth_contracts.model import Thresholds
from plinth_features.rows import Layout
from plinth_features.store import RedisRows
from plinth_kit import http
from plinth_kit.auth import KeyEntry, KeyRing, Role
from plinth_kit.health import Health
from plinth_kit.kafka.memory import MemoryBroker
from plinth_kit.kafka.message import Handler, Message, Rewind
from plinth_kit.kafka.outbox import Outbox
from plinth_kit.settings import Settings

FEATURES = feature_service()
NOWHERE: dict[str, Any] = {"type": "http.disconnect"}


class AmountModel:
    """Blocks high amounts."""

    version = Version("fraud", "1", "sha256:1", FEATURES.fingerprint)
    members = ("amount",)
    thresholds = Thresholds(0.1, 0.5, 0.9)

    def score(self, features: NDArray[np.float32]) -> Scores:
        at = FEATURES.names.index("amount")
        probability = np.clip(features[:, at].astype(np.float64) / 1000, 0, 1)
        return Scores(probability, probability[:, None])

    def explain(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.where(np.isfinite(features), features, 0.0).astype(np.float64)


class Failures(logging.Handler):
    """What was logged as an error: a traceback that nobody was told of."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(logging.Formatter().format(record)[-2_000:])


@dataclass
class Service:
    """The application, the handlers by role, and what they answered so far. A key is the name of its role."""

    asgi: Any
    handlers: dict[str, Handler]
    cases: Cases
    case_ids: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    async def call(self, call: Call, *, parts: int = 1) -> int:
        """Status of the answer; fails unless it is one complete answer in good form."""
        path = call.path.decode("latin-1")
        headers = [*call.headers, (b"x-api-key", call.role.encode())] if call.role else call.headers
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": call.method,
            "scheme": "http",
            "path": _unquoted(path),
            "raw_path": call.path,
            "query_string": call.query,
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8200),
            "state": {},
        }
        size = len(call.body) // parts + 1
        pieces = iter([call.body[at : at + size] for at in range(0, len(call.body), size)] or [b""])
        piece = next(pieces)
        sent: list[Any] = []

        async def receive() -> Any:
            nonlocal piece
            if piece is None:
                return NOWHERE
            body, piece = piece, next(pieces, None)
            return {"type": "http.request", "body": body, "more_body": piece is not None}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.asgi(scope, receive, send)
        kinds = [message["type"] for message in sent]
        assert kinds[0] == "http.response.start", (call, kinds)
        assert kinds.count("http.response.start") == 1, (call, kinds)
        assert not sent[-1].get("more_body"), (call, kinds)
        status: int = sent[0]["status"]
        if status >= 400 and call.method != "HEAD" and call.path not in (b"/livez", b"/readyz", b"/metrics"):
            problem = msgspec.json.decode(b"".join(part["body"] for part in sent[1:]))
            assert problem["status"] == status, (call, problem)
        self.statuses[status] += 1
        return status

    def handle(self, role: str, batch: Sequence[Message]) -> int:
        """How many of the batch were dead letters."""
        handled = _rewinding(self.handlers[role], batch)
        return len(handled.invalid)

    def learn_cases(self) -> None:
        """Look up cases, for the requests that act on them."""
        found = self.cases.queue(cases_api.Wanted(), datetime.now(UTC), 50)
        self.case_ids = [case.case_id for case in found]


def build(client: redis.Redis, ledger: Ledger, folder: Path) -> Service:
    """The service; its Kafka is in memory."""
    registry, numbers = CollectorRegistry(), itertools.count(1)
    judge = policy_file.judge(ROOT / "services/fraud-scorer/src/fraud_scorer/policy.yaml", FEATURES.names)
    serving = Serving(AmountModel())
    outbox = Outbox(MemoryBroker(), folder)
    cases = Cases(ledger, EscalationPolicy(), lambda: f"case-{next(numbers)}")
    labels, case_metrics = LabelMetrics(registry), CaseMetrics(registry)

    def scorer() -> FraudScorer:
        return FraudScorer(FEATURES, judge, RedisState(client, FEATURES, 3_600), time.time)

    decider = app.Decider(
        scorer(), lambda: serving, outbox, ScorerMetrics(registry, "http"), FEATURES.names, now
    )
    routes = cases_api.router(cases, lambda events: app.publish(outbox, events), case_metrics, labels, now)
    digests = {role.name.lower(): hashlib.sha256(role.name.lower().encode()).hexdigest() for role in Role}
    asgi = http.build(
        service="fraud-scorer",
        settings=Settings(rate_limit_per_second=0),
        health=Health(),
        registry=registry,
        keyring=KeyRing([KeyEntry(name, name, digest) for name, digest in digests.items()]),
        hot=app.hot_routes(decider, Answers(judge, len(FEATURES.request))),
        api=app.api(ledger, outbox, labels, [routes]),
    )
    layouts = {view.name: Layout(view) for view in FEATURES.views}
    stores = {name: (layout, RedisRows(client, layout)) for name, layout in layouts.items()}
    of_worker = ScorerMetrics(CollectorRegistry(), "kafka")
    handlers: dict[str, Handler] = {
        "worker": TransactionHandler(scorer(), lambda: serving, FEATURES.names, of_worker, now),
        "recorder": RecordHandler(ledger, labels, cases, case_metrics, now),
        "engine": EngineHandler(FEATURES.views, stores, topics.by_name(), EngineMetrics(CollectorRegistry())),
    }
    return Service(asgi, handlers, cases)


def now() -> datetime:
    """Wall clock, UTC."""
    return datetime.now(UTC)


def _rewinding(handler: Handler, batch: Sequence[Message]) -> Any:
    """The engine asks to read from the start when Redis is new; here the batch is all there is."""
    for _ in range(3):
        try:
            return handler(batch)
        except Rewind:
            continue
    raise AssertionError("the engine rewinds for ever")


def _unquoted(path: str) -> str:
    from urllib.parse import unquote

    return unquote(path)


async def together(service: Service, calls: Sequence[Call]) -> list[int]:
    """Statuses of calls made at the same time, so that they meet in the same batches."""
    return list(await asyncio.gather(*(service.call(call, parts=1 + n % 3) for n, call in enumerate(calls))))
