"""`plinth topics`, `replay-dlq` and `skip`: look after Kafka."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from plinth_cli.console import fail, plain_errors, show

if TYPE_CHECKING:
    from plinth_cli.dead_letters import DeadLetter

topics = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Show and create topics.")


@topics.command("list")
def list_topics() -> None:
    """Show every topic: partitions, messages kept, and how far each consumer group is behind."""
    _show(None)


@topics.command()
def describe(name: Annotated[str, typer.Argument(help="Topic, e.g. transaction.received.")]) -> None:
    """Show one topic: its declaration, its dead letters, and how far each consumer group is behind."""
    from plinth_contracts.topics import by_name

    spec = by_name().get(name)
    if spec:
        typer.echo(f"{spec.description}\nkey {spec.key}, kept {spec.retention_hours} h, owner {spec.owner}")
        typer.echo(f"from {', '.join(spec.producers)} to {', '.join(spec.consumers)}\n")
    _show([name, f"{name}.dlq"])


@topics.command()
def create() -> None:
    """Create the declared topics that the broker lacks, each with its dead letter topic."""
    from plinth_cli import kafka_admin
    from plinth_contracts.topics import load

    with plain_errors(), _broker_errors(), kafka_admin.connect(_bootstrap()) as admin:
        created = kafka_admin.create_missing(admin, load())
    typer.echo("\n".join(created) if created else "every declared topic is there")


def replay_dlq(
    topic: Annotated[str, typer.Argument(help="The original topic; letters are read from TOPIC.dlq.")],
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many, oldest first.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show them.")] = False,
) -> None:
    """Send dead letters back to their topic, after their reader was repaired.

    Key, value and headers go back byte by byte, to the same partition; a header counts how often. What was
    replayed is remembered, so that the next call goes on behind it. What fails again comes back here.
    """
    from plinth_cli import kafka_admin
    from plinth_cli.dead_letters import Replay

    with plain_errors(), _broker_errors():
        with kafka_admin.connect(_bootstrap()) as admin:
            if f"{topic}.dlq" not in admin.list_topics():
                fail(f"there is no topic {topic}.dlq; `plinth topics list` shows what there is")
        replay = Replay(_bootstrap(), topic)
        reasons: Counter[str] = Counter()
        sent = cut = failed_again = 0
        try:
            for letter in replay.pending(limit):
                reasons[letter.reason] += 1
                sent += letter.goes_back
                cut += letter.cut
                failed_again += letter.replays > 0
                typer.echo(_line(letter))
                if not dry_run:
                    replay.send(letter)
        finally:
            replay.close()
    for reason, count in reasons.most_common():
        typer.echo(f"{count:>6} x {reason}")
    letters = "1 dead letter" if sent == 1 else f"{sent} dead letters"
    typer.echo(f"{letters} {'would be sent' if dry_run else 'sent'} back to {topic}")
    if cut:
        typer.echo(f"{cut} had been too large to be kept whole, and are passed over")
    if failed_again:
        typer.echo(f"{failed_again} had been sent back before and failed again: repair what refuses them")


def skip(
    group: Annotated[str, typer.Argument(help="Consumer group, e.g. fraud-scorer; `topics list` has them.")],
    topic: Annotated[str, typer.Argument(help="Topic that it reads, e.g. transaction.received.")],
    to: Annotated[
        str,
        typer.Option(help="latest: all that is there; +N: N messages a partition; N: on to this offset."),
    ],
    partition: Annotated[int | None, typer.Option(min=0, help="This one alone; all by default.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Let a consumer group pass over messages that it cannot read and that stop it.

    For a consumer that ends with "invalid messages" again and again. What is skipped is never read by this
    group, and is not in its dead letters. Stop its processes first (`plinth stop NAME`), then start them
    again (`plinth up NAME`).

    Example: plinth skip fraud-scorer transaction.received --partition 3 --to +500
    """
    from plinth_cli import kafka_admin, skipping

    def waiting() -> None:
        typer.echo(f"waiting until {group} has no members; a stopped one counts for 10 s")

    with plain_errors(), _broker_errors(), kafka_admin.connect(_bootstrap()) as admin:
        skipping.plan(skipping.standings(admin, group, topic), to, partition)
        if here := skipping.wait_for_leaving(admin, group, waiting=waiting):
            fail(f"{group} is being read by {', '.join(here)}; stop it first: `plinth stop {' '.join(here)}`")
        skips = skipping.plan(skipping.standings(admin, group, topic), to, partition)
        if not skips:
            typer.echo(f"{group} has nothing to skip in {topic}")
            return
        for one in skips:
            count = one.end - one.start
            typer.echo(f"partition {one.partition}: from {one.start} to {one.end}, {count} messages")
        total = sum(one.end - one.start for one in skips)
        if not yes:
            typer.confirm(f"Skip {total} messages of {topic} for {group}?", abort=True)
        skipping.move(admin, group, topic, skips)
    typer.echo(f"skipped {total} messages; start the processes again with `plinth up`")


def _line(letter: DeadLetter) -> str:
    key = (letter.key or b"").decode(errors="backslashreplace")
    place = f"{letter.topic}/{'?' if letter.partition is None else letter.partition}@{letter.offset}"
    again = f"sent back {letter.replays} x before: " if letter.replays else ""
    note = "cut, passed over: " if letter.cut else "of another reader, sent once: " if letter.twin else again
    return f"{place}  key={key}  {note}{letter.reason}"


def _show(names: Sequence[str] | None) -> None:
    from rich.table import Table

    from plinth_cli import kafka_admin

    with plain_errors(), _broker_errors(), kafka_admin.connect(_bootstrap()) as admin:
        found = kafka_admin.states(admin, names)
    if not found:
        fail("no such topic; `plinth topics create` creates those that are declared")
    table = Table(box=None, pad_edge=False)
    for title in ("topic", "partitions", "messages", "behind"):
        table.add_column(title, justify="right" if title in ("partitions", "messages") else "left")
    for topic in found:
        behind = ", ".join(f"{group} {lag}" for group, lag in topic.lag.items())
        table.add_row(topic.name, str(topic.partitions), str(topic.messages), behind)
    show(table)


def _bootstrap() -> str:
    from plinth_cli.platform import current
    from plinth_cli.table import HOST

    return f"{HOST}:{current().table.port('kafka')}"


@contextmanager
def _broker_errors() -> Iterator[None]:
    from kafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError

    try:
        yield
    except (KafkaConnectionError, KafkaTimeoutError):
        fail(f"Kafka does not answer at {_bootstrap()}; start it with `plinth up kafka`")
    except KafkaError as error:
        fail(f"Kafka refuses: {error}; `plinth logs kafka` may say why")
