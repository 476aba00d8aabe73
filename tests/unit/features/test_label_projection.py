"""What a label says of a terminal, with and without the amount that it judges."""

from datetime import UTC, datetime, timedelta

import pytest

from plinth_contracts.events import LabelObserved
from plinth_features import projection

NOW = datetime(2018, 8, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("label", "previous", "amount_minor", "columns", "weight"),
    [
        (1.0, None, 22_000, {"label": 1, "ordinary_label": 1}, 1),
        (1.0, None, 22_001, {"label": 1, "ordinary_label": 0}, 1),
        (1.0, None, None, {"label": 1, "ordinary_label": 1}, 1),
        (0.0, None, 50_000, {"label": 0, "ordinary_label": 0}, 1),
        (0.0, 1.0, 100, {"label": -1, "ordinary_label": -1}, 0),
        (0.0, 1.0, 50_000, {"label": -1, "ordinary_label": 0}, 0),
    ],
)
def test_a_fraud_by_its_amount_is_not_the_terminals(
    label: float, previous: float | None, amount_minor: int | None, columns: dict[str, int], weight: int
) -> None:
    event = LabelObserved(
        label_id="label-1",
        request_id="1",
        entity_id="c-1",
        entities={"terminal": "t-1"},
        event_ts=NOW - timedelta(days=7),
        known_ts=NOW,
        label=label,
        previous_label=previous,
        amount_minor=amount_minor,
    )
    found = projection.label(event)
    assert (found.columns, found.weight, found.ts_ms) == (columns, weight, round(NOW.timestamp() * 1000))
