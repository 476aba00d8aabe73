"""What a person sees of a training that is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from plinth_pipelines.fraud.train import TrainedModel


def table(model: TrainedModel, alias: str) -> Table:
    """A new version: whether it took the alias, its figures on the test days, and where scores are cut."""
    registered, found, cut = model.registered, model.evaluation, model.thresholds
    title, why = f"{registered.name} version {registered.version} is {alias}", model.succession.why
    if not model.succession.takes:
        title = f"{registered.name} version {registered.version} is registered, and NOT {alias}"
        why += f"; what served goes on serving, `--force` moves {alias} all the same"
    view = Table(title=title, caption=why, show_header=False, title_justify="left", caption_justify="left")
    view.add_column(style="dim")
    view.add_column(justify="right")
    view.add_row("run", registered.run_name)
    view.add_row("AUC ROC", f"{found.roc_auc:.3f}")
    view.add_row("average precision", f"{found.average_precision:.3f}")
    view.add_row("card precision@100", f"{found.card_precision_100:.3f}")
    view.add_row("at 0.1 % false positives: recall", f"{found.recall:.3f}")
    view.add_row("at 0.1 % false positives: precision", f"{found.precision:.3f}")
    view.add_row("of test rows, frauds", f"{found.rows:,}, {found.frauds:,}", end_section=True)
    view.add_row("monitor from", f"{cut.monitor:.4f}")
    view.add_row("step_up from", f"{cut.step_up:.4f}")
    view.add_row("block from", f"{cut.block:.4f}")
    return view
