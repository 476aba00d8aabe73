"""What a person sees of the demonstration."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from plinth_contracts.events import Outcome
from plinth_pipelines.fraud.effect import Effect
from plinth_pipelines.fraud.effect import Group as Counted
from plinth_pipelines.fraud.protocol import PUBLISHED, PUBLISHED_FIGURES, Evaluation, Protocol
from plinth_pipelines.fraud.watch import Watch

RECENT = 5000
LINE_EVERY_S = 10.0
"""So often does a replay print a line where there is no terminal for a live table."""


@contextmanager
def watching(console: Console, total: int) -> Iterator[Callable[[Watch], None]]:
    """What shows a replay while it runs: a live table, or now and then a line where that cannot be."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            yield lambda watch: live.update(table(watch, total, time.monotonic(), RECENT))
        return
    printed = time.monotonic()

    def line(watch: Watch) -> None:
        nonlocal printed
        now = time.monotonic()
        if now - printed >= LINE_EVERY_S:
            printed = now
            said = f"{watch.decided:,} of {total:,} transactions decided"
            console.print(f"{said}, {watch.labels:,} labels sent, {now - watch.started:.0f} s")

    yield line


def table(watch: Watch, total: int, now: float, recent: int | None = None) -> Table:
    """What has been sent and decided by `now`; latency of the last `recent` decisions, or of all."""
    seconds = max(1e-9, (watch.last_answer or now) - watch.started)
    p50, p99 = watch.percentiles(recent)
    view = Table(title="Transactions through Kafka", show_header=False, title_justify="left")
    view.add_column(style="dim")
    view.add_column(justify="right")
    when = datetime.fromtimestamp(watch.stream_ms / 1000, UTC)
    view.add_row("stream time", f"{when:%Y-%m-%d %H:%M}")
    view.add_row("sent", f"{watch.sent:,} of {total:,}  ({watch.sent / max(1, total):.0%})")
    view.add_row("decided", f"{watch.decided:,}")
    if watch.refused:
        view.add_row("refused", f"{len(watch.refused):,}")
    view.add_row("repeats", f"{watch.repeats:,}")
    view.add_row("labels sent", f"{watch.labels:,}")
    view.add_row("throughput", f"{watch.decided / seconds:,.0f} decisions/s")
    view.add_row("latency p50 / p99", f"{p50:,.0f} / {p99:,.0f} ms")
    for outcome in Outcome:
        view.add_row(outcome, f"{watch.outcomes[outcome]:,}")
    view.add_row("alerts", f"{watch.alerts:,}")
    view.add_row("degraded", f"{watch.degraded:,}")
    return view


def effect_table(found: Effect, let_through: int, cases: int) -> RenderableType:
    """What the decisions did, now that every label is known."""
    view = Table(title="Decisions against their labels", title_justify="left")
    view.add_column("outcome")
    for name in ("transactions", "frauds", "amount", "of it fraud"):
        view.add_column(name, justify="right")
    for outcome, group in found.by_outcome.items():
        view.add_row(outcome, *_counts(group))
    view.add_row("all", *_counts(found.everything), style="bold")
    stopped = found.stopped
    return Group(
        view,
        Text(
            f"Blocked or stepped up: {stopped.frauds:,} of {found.everything.frauds:,} frauds"
            f" ({found.recall:.1%}), {_euros(stopped.fraud_amount)} of"
            f" {_euros(found.everything.fraud_amount)} ({found.money_recall:.1%}); precision"
            f" {found.precision:.1%}.\n"
            f"The price: {stopped.genuine:,} genuine payments stopped, {_euros(stopped.genuine_amount)};"
            f" {found.false_positive_rate:.2%} of the genuine ones blocked; {let_through:,} let through by"
            f" chance to learn what blocking costs. {cases:,} cases opened."
        ),
    )


def _counts(group: Counted) -> tuple[str, str, str, str]:
    return (
        f"{group.transactions:,}",
        f"{group.frauds:,}",
        _euros(group.amount),
        _euros(group.fraud_amount),
    )


def _euros(minor: int) -> str:
    return f"€ {minor / 100:,.0f}"


def summary(watch: Watch, found: Evaluation | None, started: float) -> RenderableType:
    """What a person would want to know at the end."""
    first = (watch.first_decision or time.monotonic()) - started
    lines = [
        f"First decision {first:.0f} s after the start; {watch.decided:,} transactions decided, each once"
        f" ({watch.repeats:,} repeats seen).",
        "Latency is from produce to decision consumed; sent flat out it is mostly waiting in line.",
    ]
    if found is None:
        return Text("\n".join(lines))
    view = Table(title=_test_days(PUBLISHED), title_justify="left")
    view.add_column("model")
    for name in ("AUC ROC", "average precision", "card precision@100"):
        view.add_column(name, justify="right")
    for name, figures in PUBLISHED_FIGURES.items():
        view.add_row(name, *(f"{figure:.3f}" for figure in figures))
    ours = (found.roc_auc, found.average_precision, found.card_precision_100)
    view.add_row("this platform, live", *(f"{figure:.3f}" for figure in ours), style="bold")
    lines.append(
        f"At a false positive rate of at most 0.1 %: recall {found.recall:.3f}, precision"
        f" {found.precision:.3f} ({found.rows:,} transactions, {found.frauds:,} frauds)."
    )
    return Group(view, Text("\n".join(lines)))


def _test_days(of: Protocol) -> str:
    last = of.test_start + timedelta(days=of.test_days - 1)
    return f"Detection, {of.test_start} to {last:%m-%d}, labels after {of.delay_days} days"
