"""The model card: what a version is for, what it was made of, how well it does, and where it must not go.

After Mitchell et al. (2019) "Model Cards for Model Reporting", FAT*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import structs

from plinth_contracts.model import Thresholds
from plinth_pipelines.fraud.protocol import PUBLISHED_FIGURES, Evaluation
from plinth_pipelines.fraud.provenance import Manifest
from plinth_pipelines.fraud.selection import Comparison, mean_precision
from plinth_pipelines.fraud.simulate import HIGH_AMOUNT_MINOR

FEATURES_SHOWN = 10


@dataclass(frozen=True)
class Facts:
    """What a card states. ordinary_minor: see `plinth_features.spec.View`, of the view that declares it."""

    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    manifest: Manifest
    thresholds: Thresholds
    evaluation: Evaluation
    alone: Mapping[str, Evaluation]
    served: Sequence[str]
    comparisons: Sequence[Comparison]
    importance: Mapping[str, float]
    features: Sequence[str]
    fingerprint: str
    revision: str
    ordinary_minor: int | None


def write(facts: Facts) -> str:
    """The card in Markdown."""
    sections = (_purpose, _data, _protocol, _figures, _thresholds, _selection, _explanation, _limits)
    return "# Model card: card fraud\n\n" + "\n\n".join(section(facts) for section in sections) + "\n"


def _purpose(facts: Facts) -> str:
    return f"""## Purpose

The probability that a card payment is fraud, within milliseconds of its arrival. Served by the fraud scorer,
which turns it into approve, monitor, step up or block. Members: {", ".join(facts.served)}.

Not for: judging people, credit decisions, payments of other kinds than those it was trained on, or blocking
without a way to appeal."""


def _data(facts: Facts) -> str:
    data = facts.manifest
    return f"""## Data

{data.rows:,} transactions from {data.first_event} to {data.last_event}, {data.frauds:,} of them fraud; source
`{data.source}`, SHA-256 `{data.sha256}`. {len(facts.features)} features, fingerprint
`{facts.fingerprint}`. Code `{facts.revision}`.

No name, address, age, sex, nationality or any other trait of a person is in the data."""


def _protocol(facts: Facts) -> str:
    p = facts.params
    return f"""## Protocol

Trained on {p["train_days"]} days, tested on {p["test_days"]} days from {p["test_start"]}; between them
{p["delay_days"]} days whose labels are not known yet. A row sees only what was known at its time. Cards known
as compromised are left out of the test. Parameters, calibration and thresholds come from {p["folds"]} test
week(s) inside the training days. {p["train_rows"]:,} training rows: every fraud, and
{p["genuine_rows_kept"]:.0%} of the genuine rows with their weight restored. Seed {p["seed"]}."""


def _figures(facts: Facts) -> str:
    lines = [
        "## Figures",
        "",
        "| scorer | AUC ROC | average precision | card precision@100 | recall | precision |",
        "|---|---|---|---|---|---|",
        _row("**this version**", facts.evaluation),
        *(_row(f"{name} alone", evaluation) for name, evaluation in facts.alone.items()),
        *(
            f"| {name} | {auc:.3f} | {ap:.3f} | {cards:.3f} | | |"
            for name, (auc, ap, cards) in PUBLISHED_FIGURES.items()
        ),
        "",
        "Recall and precision at a false positive rate of at most 0.1 %, the threshold taken on these rows.",
        f"Calibration error {facts.metrics['test_calibration_error']:.4f},"
        f" Brier score {facts.metrics['test_brier_score']:.4f}.",
        f"The ONNX file differs from the original by at most {facts.metrics['onnx_max_difference']:.1e}.",
    ]
    return "\n".join(lines)


def _thresholds(facts: Facts) -> str:
    lines = [
        "## Thresholds",
        "",
        "Chosen before the test days; what they do on them:",
        "",
        "| outcome | probability from | false positive rate | recall |",
        "|---|---|---|---|",
    ]
    for outcome, threshold in structs.asdict(facts.thresholds).items():
        rate = facts.metrics[f"test_{outcome}_false_positive_rate"]
        lines.append(
            f"| {outcome} | {threshold:.4f} | {rate:.3%} | {facts.metrics[f'test_{outcome}_recall']:.3f} |"
        )
    return "\n".join(lines)


def _selection(facts: Facts) -> str:
    lines = ["## Walk-forward", "", "| scorer | weeks | mean average precision |", "|---|---|---|"]
    for name in dict.fromkeys(comparison.name for comparison in facts.comparisons):
        weeks = sum(comparison.name == name for comparison in facts.comparisons)
        lines.append(f"| {name} | {weeks} | {mean_precision(facts.comparisons, name):.4f} |")
    lines += ["", f"Taken: {facts.params['candidate']}, members {', '.join(facts.served)}."]
    return "\n".join(lines)


def _explanation(facts: Facts) -> str:
    lines = ["## What it looks at", "", "| feature | mean contribution to the log-odds |", "|---|---|"]
    for name, value in list(facts.importance.items())[:FEATURES_SHOWN]:
        lines.append(f"| {name} | {value:.3f} |")
    return "\n".join(lines)


def _limits(facts: Facts) -> str:
    return f"""## Limits

- Labels arrive after {facts.params["delay_days"]} days: until then a compromised terminal is invisible, which
  bounds recall whatever the model.
- Customers and terminals without history get the defaults of an empty window, and less reliable scores.
- Trained on the past: a new way of fraud, or new prices, need new labels. Watch drift and calibration.
- With simulated data, figures say how the platform works, not what it would find at a bank.
{_declared(facts.ordinary_minor)}
## Fairness and ethics

A false alarm costs a person a declined payment. Frequent travellers and people with irregular spending
trigger features of amount and place more often: compare false positive rates between groups, where those may
lawfully be known, before blocking automatically. People decide appeals, and see the reasons that the scorer
gives.

## Contact

Owner: the team `fraud` (the feature service's owner)."""


def _declared(ordinary_minor: int | None) -> str:
    """What the features were told instead of learning it."""
    if ordinary_minor is None:
        return ""
    amount, large = f"{ordinary_minor / 100:.2f}", f"{HIGH_AMOUNT_MINOR / 100:.2f}"
    return f"""- The features `terminal_ordinary_*` leave out frauds of more than {amount}. That amount is
  declared in `feature_repo`, not learnt. The simulation calls every payment of more than {large} fraud (its
  first scenario): on its data these features know a rule by which the labels were made, and the figures above
  owe something to it. For other payments the amount has to be found anew.
"""


def _row(name: str, e: Evaluation) -> str:
    figures = (e.roc_auc, e.average_precision, e.card_precision_100, e.recall, e.precision)
    return f"| {name} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |"
