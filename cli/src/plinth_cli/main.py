"""`plinth`: run the platform on this machine and look after it."""

from __future__ import annotations

import typer

from plinth_cli.commands import fraud, kafka, lifecycle, observe

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Run the Plinth platform on this machine and look after it.",
    epilog="State lives in .plinth (PLINTH_STATE_DIR); ports move together with PLINTH_PORT_OFFSET.",
)

app.command()(fraud.demo)
app.command()(fraud.replay)
app.add_typer(fraud.train, name="train")
app.command()(lifecycle.up)
app.command()(lifecycle.down)
app.command()(lifecycle.restart)
app.command()(lifecycle.stop)
app.command()(observe.status)
app.command()(observe.logs)
app.add_typer(kafka.topics, name="topics")
app.command("replay-dlq")(kafka.replay_dlq)
app.command()(kafka.skip)
