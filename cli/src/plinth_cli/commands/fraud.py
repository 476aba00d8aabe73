"""`plinth demo`, `replay`, `train`: the fraud pipelines on the platform of this machine."""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plinth_cli.commands.lifecycle import start, where_to_look
from plinth_cli.console import fail, plain_errors

if TYPE_CHECKING:
    from plinth_cli.platform import Platform
    from plinth_pipelines.settings import PipelineSettings

train = typer.Typer(no_args_is_help=True, help="Train a model and let it serve.")

DEMO_MARK = "demo"


def demo(
    days: Annotated[int, typer.Option(min=1, max=61, help="Days of transactions to replay.")] = 14,
    speed: Annotated[
        float, typer.Option(min=0.0, help="Stream seconds per second; 0: as fast as they are decided.")
    ] = 0.0,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Install missing Debian packages without asking.")
    ] = False,
) -> None:
    """Start the platform, train a model, replay two weeks of card payments, and sum up.

    The payments are simulated: 5,000 cards, 10,000 terminals, six months, three kinds of fraud. A model is
    trained on July, then August goes through Kafka, with labels a week late. The platform stays up.

    Run again, it starts afresh; it refuses to do so on a platform that holds other data.
    """
    from plinth_cli.platform import current

    began = time.monotonic()
    with plain_errors():
        platform = current()
        mark = platform.config.state / DEMO_MARK
        if platform.config.data.exists() and not mark.exists() and _has_transactions(platform):
            fail("this platform holds other data: `plinth replay` adds to it, `make down` deletes it")
        if mark.exists():
            typer.echo("a demo has run here: starting afresh")
            platform.stop()
            platform.purge()
            platform = current()
        start(platform, yes=yes, hint=False)
        mark.touch()
        settings = _settings(platform)
        from plinth_pipelines import terminal
        from plinth_pipelines.fraud import demo as pipeline

        pipeline.run(settings, pipeline.Plan(days, speed), terminal.console(), started=began)
        where_to_look(platform, [process.name for process in platform.table.processes])
        typer.echo(
            "The platform stays up: `plinth status` shows it, `make down` stops it and deletes its data.\n"
            'Go on with "First requests" in README.md.'
        )


def replay(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="CSV or Parquet of transactions.")
    ],
    transaction_id: Annotated[str, typer.Option(help="Its column for this field.")] = "transaction_id",
    customer_id: Annotated[str, typer.Option(help="Its column for this field.")] = "customer_id",
    terminal_id: Annotated[str, typer.Option(help="Its column for this field.")] = "terminal_id",
    event_ts: Annotated[
        str, typer.Option(help="Its column for the time, ISO 8601; without a zone it is UTC.")
    ] = "event_ts",
    amount: Annotated[
        str,
        typer.Option(help="Its column for the amount in major units (12.50), unless amount_minor is given."),
    ] = "amount",
    amount_minor: Annotated[str, typer.Option(help="Its column for the amount in cents (1250).")] = "",
    label: Annotated[
        str, typer.Option(help="Its column that is true or 1 for fraud; labels follow after the delay.")
    ] = "",
    label_delay_days: Annotated[float, typer.Option(min=0.0, help="When a label becomes known.")] = 7.0,
    start_at: Annotated[
        datetime | None, typer.Option("--from", help="Leave out what is earlier (UTC).")
    ] = None,
    speed: Annotated[
        float, typer.Option(min=0.0, help="Stream seconds per second; 0: as fast as they are decided.")
    ] = 0.0,
) -> None:
    """Send your own transactions through the platform and watch what it decides.

    Example: plinth replay tx.csv --transaction-id id --customer-id card --terminal-id shop --event-ts when
    """
    from plinth_cli.platform import running

    with plain_errors():
        settings = _settings(running())
        from plinth_pipelines import terminal
        from plinth_pipelines.fraud import replay_file

        columns = replay_file.Columns(
            transaction_id, customer_id, terminal_id, event_ts, amount, amount_minor, label
        )
        console = terminal.console()
        replay_file.run(settings, file, columns, label_delay_days, start_at, speed, console)


@train.command("fraud")
def train_fraud(
    quick: Annotated[
        bool, typer.Option("--quick", help="Take the parameters chosen before: half a minute.")
    ] = False,
    alias: Annotated[
        str, typer.Option(help="Alias for the new version; services serve `champion`.")
    ] = "champion",
    force: Annotated[
        bool, typer.Option("--force", help="Move `champion` even if the version that has it is better.")
    ] = False,
) -> None:
    """Select, train, evaluate and register the fraud model on the simulated payments, and let it serve.

    Takes some minutes. Services swap to the new version within seconds, without a restart.
    """
    from plinth_cli.platform import running

    with plain_errors():
        settings = _settings(running())
        from plinth_pipelines import terminal
        from plinth_pipelines.fraud import demo as pipeline

        pipeline.train_only(settings, terminal.console(), quick=quick, alias=alias, force=force)


def _settings(platform: Platform) -> PipelineSettings:
    """To be called before pipelines are imported, so that their libraries write into the state folder."""
    os.environ["PLINTH_STATE_DIR"] = str(platform.config.state)
    from plinth_cli.config import ROOT
    from plinth_cli.table import HOST
    from plinth_pipelines.settings import PipelineSettings

    port = platform.table.port
    return PipelineSettings(
        kafka_bootstrap=f"{HOST}:{port('kafka')}",
        redis_url=f"redis://{HOST}:{port('redis')}/0",
        mlflow_url=f"http://{HOST}:{port('mlflow')}",
        scorer_url=f"http://{HOST}:{port('fraud-scorer-api')}",
        scorer_worker_url=f"http://{HOST}:{port('fraud-scorer-worker')}",
        scorer_recorder_url=f"http://{HOST}:{port('fraud-scorer-recorder')}",
        engine_url=f"http://{HOST}:{port('feature-store-engine')}",
        feature_repo=ROOT / "feature_repo",
        state_dir=platform.config.state,
    )


def _has_transactions(platform: Platform) -> bool:
    """Whether anything was ever sent: Kafka's folder holds a segment that is not empty."""
    logs = (platform.config.data / "kafka").glob("**/transaction.received-*/*.log")
    return any(log.stat().st_size for log in logs)
