"""HTTP edge of the cases: what an investigator sees and does."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Response
from msgspec import Struct
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fraud_scorer.case_rows import CaseEvent, Filed, Place, Wanted
from fraud_scorer.cases import Act, Cases, Publish, Ruling, Summary, TierTooHigh, UnknownCase
from fraud_scorer.core.cases import TIERS, Case, NotAllowed, Resolution, Status, UnknownTransactions
from fraud_scorer.edge import ObservedAt, SomeId, database
from fraud_scorer.ledger_metrics import CaseMetrics, LabelMetrics
from fraud_scorer.records import message
from plinth_kit.auth import Principal, Role
from plinth_kit.fastapi_adapter import answers, requires
from plinth_kit.problems import FieldError, Problem, invalid

MAX_PAGE = 200
MAX_EXCEPTIONS = 1_000

_decode_place = msgspec.json.Decoder(Place).decode


def _visible(text: str) -> str:
    if "\x00" in text or not text.strip():
        raise ValueError("must hold visible text")
    return text


Reason = Annotated[str, Field(max_length=500), AfterValidator(_visible)]
Text = Annotated[str, Field(max_length=4000), AfterValidator(_visible)]

Viewer = Depends(requires(Role.VIEWER))
Operator = Annotated[Principal, Depends(requires(Role.OPERATOR))]
CaseId = Annotated[SomeId, Path()]


class ActIn(BaseModel):
    """What every act may say: the version of the case that it was decided on."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: Annotated[int, Field(ge=1, lt=10**9)] | None = None


class AssignIn(ActIn):
    """Body of `POST /v1/cases/{case_id}/assign`; null gives the case back to the queue."""

    assignee: SomeId | None


class NoteIn(ActIn):
    """Body of `POST /v1/cases/{case_id}/notes`."""

    text: Text


class ReasonIn(ActIn):
    """Body of `POST /v1/cases/{case_id}/escalate` and `/reopen`."""

    reason: Reason


class ResolveIn(ActIn):
    """Body of `POST /v1/cases/{case_id}/resolve`; `transactions` are exceptions, true: it was fraud.

    `observed_at`: when that became known, if not just now: a replayed history is labelled at its own time.
    """

    resolution: Literal[Resolution.FRAUD, Resolution.GENUINE]
    transactions: Annotated[dict[SomeId, bool], Field(max_length=MAX_EXCEPTIONS)] = Field(
        default_factory=dict
    )
    note: Text | None = None
    observed_at: ObservedAt | None = None


class CasePage(Struct, frozen=True):
    """Answer of `GET /v1/cases`; `next_cursor` asks for the next page, null on the last."""

    cases: list[Case]
    next_cursor: str | None


class Note(Struct, frozen=True):
    """What somebody wrote down."""

    ts: datetime
    who: str
    text: str


class CaseDetail(Struct, frozen=True):
    """Answer of `GET /v1/cases/{case_id}`."""

    case: Case
    decisions: list[Filed]
    notes: list[Note]
    history: list[CaseEvent]


def router(
    cases: Cases,
    publish: Publish,
    metrics: CaseMetrics,
    labels: LabelMetrics,
    now: Callable[[], datetime],
) -> APIRouter:
    """The routes of cases. Any thread may call `publish`."""
    routes = APIRouter(prefix="/v1/cases", tags=["cases"])

    def act(who: Principal, body: ActIn) -> Act:
        return Act(who.name, now(), body.version)

    @routes.get("", dependencies=[Viewer])
    @answers(CasePage, 503)
    def queue(
        status: Status | None = None,
        tier: Annotated[int | None, Query(ge=TIERS[0], le=TIERS[-1])] = None,
        assignee: SomeId | None = None,
        customer_id: SomeId | None = None,
        overdue: bool | None = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
        cursor: Annotated[str | None, Query(max_length=256)] = None,
    ) -> Response:
        """Cases, the highest tier first, then the earliest deadline."""
        wanted = Wanted(
            status=status,
            tier=tier,
            assignee=assignee,
            customer_id=customer_id,
            overdue=overdue,
            after=None if cursor is None else _place(cursor),
        )
        with database():
            found = cases.queue(wanted, now(), limit + 1)
        page = found[:limit]
        return _json(CasePage(page, _cursor(page[-1]) if len(found) > limit else None))

    @routes.get("/summary", dependencies=[Viewer])
    @answers(Summary, 503)
    def summary() -> Response:
        """How many cases there are by status and tier, and the median time to resolve them."""
        with database():
            return _json(cases.summary(now()))

    @routes.get("/{case_id}", dependencies=[Viewer])
    @answers(CaseDetail, 404, 503)
    def case(case_id: CaseId) -> Response:
        """A case with its decisions and their labels, its notes and its history."""
        with _refusals(case_id):
            file = cases.find(case_id)
        notes = [Note(e.ts, e.who, e.details["text"]) for e in file.history if e.what == "noted"]
        return _json(CaseDetail(file.case, file.decisions, notes, file.history))

    @routes.post("/{case_id}/assign")
    @answers(Case, 404, 409, 503)
    def assign(case_id: CaseId, body: AssignIn, who: Operator) -> Response:
        """Give a case to somebody; an open one is then under investigation."""
        with _refusals(case_id):
            changed = cases.assign(case_id, act(who, body), body.assignee)
        return _json(changed)

    @routes.post("/{case_id}/notes")
    @answers(Case, 404, 409, 503)
    def note(case_id: CaseId, body: NoteIn, who: Operator) -> Response:
        """Write something down."""
        with _refusals(case_id):
            changed = cases.note(case_id, act(who, body), body.text)
        return _json(changed)

    @routes.post("/{case_id}/escalate")
    @answers(Case, 404, 409, 503)
    def escalate(case_id: CaseId, body: ReasonIn, who: Operator) -> Response:
        """Raise a case by one tier; an alert tells of it."""
        with _refusals(case_id):
            changed = cases.escalate(case_id, act(who, body), body.reason)
        return _json(changed)

    @routes.post("/{case_id}/resolve")
    @answers(Case, 404, 409, 503)
    def resolve(case_id: CaseId, body: ResolveIn, who: Operator) -> Response:
        """Say what the transactions of a case were; each gets a label. The highest tier needs an approver."""
        highest = TIERS[-1] if who.role >= Role.APPROVER else TIERS[-2]
        ruling = Ruling(body.resolution, body.transactions, body.note, body.observed_at)
        with _refusals(case_id):
            settled = cases.resolve(case_id, act(who, body), ruling, highest)
        labels.judged(settled.judged)
        if not settled.repeated:
            metrics.resolved(settled.case)
        publish(
            [
                message(event, event.entity_id.encode(), event.label_id, event.known_ts)
                for event in settled.labels
            ]
        )
        return _json(settled.case)

    @routes.post("/{case_id}/reopen")
    @answers(Case, 404, 409, 503)
    def reopen(case_id: CaseId, body: ReasonIn, who: Operator) -> Response:
        """Take a resolved case up again."""
        with _refusals(case_id):
            changed = cases.reopen(case_id, act(who, body), body.reason)
        return _json(changed)

    return routes


@contextmanager
def _refusals(case_id: str) -> Iterator[None]:
    """What a case does not take becomes a Problem, and so does a database that is away."""
    try:
        with database():
            yield
    except UnknownCase as error:
        raise Problem(404, detail=f"there is no case {case_id!r}") from error
    except NotAllowed as error:
        raise Problem(409, detail=str(error)) from error
    except TierTooHigh as error:
        raise Problem(403, detail=f"{error}: resolving it needs the role approver or above") from error
    except UnknownTransactions as error:
        fields = [
            FieldError(f"body.transactions.{one}", "is not in the case") for one in error.transaction_ids
        ]
        raise invalid(fields) from error


def _cursor(case: Case) -> str:
    place = Place(case.tier, case.due_ts, case.case_id)
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _place(cursor: str) -> Place:
    try:
        return _decode_place(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise invalid([FieldError("query.cursor", "is none that a page ended with")]) from error


def _json(answer: Any) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")
