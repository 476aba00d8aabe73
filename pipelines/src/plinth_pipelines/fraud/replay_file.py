"""A person's own transactions through the platform: CSV or Parquet, columns mapped by name.

`plinth replay FILE` sends them through the platform of this machine, `python -m
plinth_pipelines.fraud.replay_file FILE` through the one that the environment names.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pandas as pd
from pandas.api.types import is_float_dtype
from rich.console import Console

from plinth_contracts import codec
from plinth_contracts.events import TransactionReceived
from plinth_kit.kafka.confluent import KafkaBroker
from plinth_kit.settings import load
from plinth_pipelines import terminal
from plinth_pipelines.errors import PipelineError
from plinth_pipelines.fraud import demo_view, replay, stream
from plinth_pipelines.fraud.freshness import Freshness
from plinth_pipelines.settings import PipelineSettings

SHOWN = 10
"""So many of the refused transactions are named."""
TRUE = {"1", "1.0", "true", "t", "yes", "y", "fraud"}
FALSE = {"0", "0.0", "false", "f", "no", "n", "genuine"}

_decode = codec.decoder(TransactionReceived)


class Columns(NamedTuple):
    """Which column of the file holds what. `amount` is in major units unless `amount_minor` is named."""

    transaction_id: str = "transaction_id"
    customer_id: str = "customer_id"
    terminal_id: str = "terminal_id"
    event_ts: str = "event_ts"
    amount: str = "amount"
    amount_minor: str = ""
    label: str = ""


class UnreadableError(PipelineError):
    """The file cannot be replayed as it is; the message says what to change."""


def read(file: Path, columns: Columns) -> pd.DataFrame:
    """The file's transactions in order of time, in the platform's columns.

    Raises UnreadableError naming columns that are missing or values that make no sense.
    """
    labelled = [columns.label] if columns.label else []
    raw = _table(file, [*columns[:3], *labelled])
    amount = columns.amount_minor or columns.amount
    needed = [*columns[:4], amount, *labelled]
    if missing := [name for name in needed if name not in raw]:
        raise UnreadableError(
            f"{file.name} has no column {', '.join(missing)}; it has {', '.join(map(str, raw.columns))}."
            " Name yours with the options, see --help"
        )
    amounts = pd.to_numeric(raw[amount], errors="coerce").replace([np.inf, -np.inf], np.nan)
    times = pd.to_datetime(raw[columns.event_ts], utc=True, format="ISO8601", errors="coerce")
    checks = [
        (name, raw[name].isna() | is_float_dtype(raw[name]), "text or an integer") for name in columns[:3]
    ]
    checks.append((columns.transaction_id, raw[columns.transaction_id].duplicated(), "in one row alone"))
    checks.append((amount, amounts.isna(), "a number, 12.50 or 1250"))
    checks.append((columns.event_ts, times.isna(), "ISO 8601, 2018-08-22 09:30:00"))
    words = raw[columns.label].astype("string").str.strip().str.lower() if columns.label else None
    if words is not None:
        checks.append((columns.label, ~words.isin(TRUE | FALSE), "1 or 0, true or false"))
    for name, wrong, wanted in checks:
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise UnreadableError(
                f"{file.name}: {name} of row {row + 1} makes no sense: {raw[name].iloc[row]!r}; it should be"
                f" {wanted}"
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
    if words is not None:
        frame["is_fraud"] = words.isin(TRUE)
    for row, item in enumerate(stream.transactions(frame), start=1):
        try:
            _decode(item.outgoing.value)
        except msgspec.ValidationError as error:
            raise UnreadableError(f"{file.name}: row {row} is no transaction: {error}") from error
    return frame.sort_values("event_ts", kind="stable", ignore_index=True)


def _table(file: Path, texts: Sequence[str]) -> pd.DataFrame:
    """The file as it is; of a CSV these columns as text, so that 007 stays 007."""
    try:
        if file.suffix not in (".parquet", ".pq"):
            return pd.read_csv(file, dtype=dict.fromkeys(texts, "string"))
        return pd.read_parquet(file)
    except (ValueError, OSError) as error:
        raise UnreadableError(f"{file.name} cannot be read: {error}") from error


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
        frame = frame[frame["event_ts"] >= start.replace(tzinfo=start.tzinfo or UTC)]
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
    with demo_view.watching(console, len(frame)) as observe:
        watch = replay.replay(
            broker,
            items,
            speed=speed,
            behind=Freshness(settings.engine_url).behind,
            observe=observe,
        )
    console.print(demo_view.table(watch, len(frame), time.monotonic()))
    if watch.earlier:
        console.print(
            f"{watch.earlier:,} of {watch.decided:,} had been decided before; these are the decisions of"
            " then. Give other ids to have them decided anew."
        )
    for transaction_id, reason in islice(watch.refused.items(), SHOWN):
        console.print(f"refused: {transaction_id}: {reason}")
    if watch.refused:
        console.print(
            f"{len(watch.refused):,} were refused, the first of them above. They lie in the dead letters:"
            " `plinth replay-dlq transaction.received --dry-run`."
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay a CSV or Parquet of transactions and show what is decided. Options name its columns."""
    parser = argparse.ArgumentParser(
        prog="python -m plinth_pipelines.fraud.replay_file", description=main.__doc__
    )
    parser.add_argument("file", type=Path)
    for field, default in Columns._field_defaults.items():
        parser.add_argument(f"--{field.replace('_', '-')}", default=default, metavar="COLUMN")
    parser.add_argument("--label-delay-days", type=float, default=7.0, help="when a label becomes known")
    parser.add_argument("--from", dest="start", type=datetime.fromisoformat, help="leave out what is earlier")
    parser.add_argument("--speed", type=float, default=0.0, help="stream seconds a second; 0: flat out")
    options = vars(parser.parse_args(arguments))
    columns = Columns(**{field: options.pop(field) for field in Columns._fields})
    try:
        run(load(PipelineSettings), columns=columns, console=terminal.console(), **options)
    except PipelineError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
