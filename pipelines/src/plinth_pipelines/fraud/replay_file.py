"""A person's own transactions through the platform: CSV or Parquet, columns mapped by name."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from rich.console import Console
from rich.live import Live

from plinth_kit.kafka.confluent import KafkaBroker
from plinth_pipelines.fraud import demo_view, replay, stream
from plinth_pipelines.fraud.freshness import Freshness
from plinth_pipelines.settings import PipelineSettings

TRUE = {"1", "true", "t", "yes", "y", "fraud"}


class Columns(NamedTuple):
    """Which column of the file holds what. `amount` is in major units unless `amount_minor` is named."""

    transaction_id: str = "transaction_id"
    customer_id: str = "customer_id"
    terminal_id: str = "terminal_id"
    event_ts: str = "event_ts"
    amount: str = "amount"
    amount_minor: str = ""
    label: str = ""


class UnreadableError(ValueError):
    """The file cannot be replayed as it is; the message says what to change."""


def read(file: Path, columns: Columns) -> pd.DataFrame:
    """The file's transactions in order of time, in the platform's columns.

    Raises UnreadableError naming columns that are missing or values that make no sense.
    """
    raw = pd.read_parquet(file) if file.suffix in (".parquet", ".pq") else pd.read_csv(file)
    amount = columns.amount_minor or columns.amount
    needed = [*columns[:4], amount, *([columns.label] if columns.label else [])]
    if missing := [name for name in needed if name not in raw]:
        raise UnreadableError(
            f"{file.name} has no column {', '.join(missing)}; it has {', '.join(map(str, raw.columns))}."
            " Name yours with the options, see --help"
        )
    amounts = pd.to_numeric(raw[amount], errors="coerce")
    times = pd.to_datetime(raw[columns.event_ts], utc=True, errors="coerce")
    for name, values in ((amount, amounts), (columns.event_ts, times)):
        if values.isna().any():
            row = int(values.isna().to_numpy().argmax())
            raise UnreadableError(
                f"{file.name}: {name} of row {row + 1} makes no sense: {raw[name].iloc[row]!r}"
            )
    frame = pd.DataFrame(
        {
            "transaction_id": raw[columns.transaction_id].astype(str),
            "customer_id": raw[columns.customer_id].astype(str),
            "terminal_id": raw[columns.terminal_id].astype(str),
            "event_ts": times.astype("datetime64[ms, UTC]"),
            "amount_minor": (amounts if columns.amount_minor else amounts * 100).round().astype("int64"),
        }
    )
    if columns.label:
        frame["is_fraud"] = raw[columns.label].astype(str).str.strip().str.lower().isin(TRUE)
    return frame.sort_values("event_ts", kind="stable", ignore_index=True)


def run(
    settings: PipelineSettings,
    file: Path,
    columns: Columns,
    label_delay_days: float,
    start: datetime | None,
    speed: float,
    console: Console,
) -> None:
    """Replay a file and print what was decided."""
    frame = read(file, columns)
    if start is not None:
        frame = frame[frame["event_ts"] >= start.replace(tzinfo=UTC)]
    if frame.empty:
        raise UnreadableError(f"{file.name} holds no transactions to replay")
    items = stream.merged(
        frame,
        start=frame["event_ts"].iloc[0].to_pydatetime(),
        end=frame["event_ts"].iloc[-1].to_pydatetime() + timedelta(milliseconds=1),
        delay=timedelta(days=label_delay_days),
        with_labels=bool(columns.label),
    )
    broker = KafkaBroker(settings.kafka_bootstrap, "replay")
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        watch = replay.replay(
            broker,
            items,
            speed=speed,
            behind=Freshness(settings.engine_url).behind,
            observe=lambda seen: live.update(demo_view.table(seen, len(frame), time.monotonic())),
        )
    console.print(demo_view.table(watch, len(frame), time.monotonic()))
    if watch.earlier:
        console.print(
            f"{watch.earlier:,} of {watch.decided:,} had been decided before; these are the decisions of"
            " then. Give other ids to have them decided anew."
        )
