"""What a label says of a terminal, with and without the amount that it judges."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from plinth_contracts.events import LabelObserved
from plinth_features import projection, spec
from plinth_features.spec import Aggregation, View

VIEW = View(
    name="terminal_labels",
    entity="terminal",
    source="label.observed",
    partitions=1,
    columns=("label", "ordinary_label"),
    ordinary_minor=22_000,
    aggregations=(Aggregation(feature="run", function="run", column="ordinary_label"),),
)
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
    assert (found.weight, found.ts_ms) == (weight, round(NOW.timestamp() * 1000))
    assert projection.values(VIEW, found) == list(columns.values())
    assert projection.project(VIEW, found, 0, 1)[-2:] == projection.update(VIEW, found, 0, 1).values


def test_what_is_large_is_the_views_and_part_of_what_a_stored_row_means() -> None:
    event = LabelObserved(
        label_id="label-1",
        request_id="1",
        entity_id="c-1",
        entities={"terminal": "t-1"},
        event_ts=NOW,
        known_ts=NOW,
        label=1.0,
        amount_minor=500,
    )
    strict = replace(VIEW, ordinary_minor=499)
    assert projection.values(VIEW, projection.label(event)) == [1, 1]
    assert projection.values(strict, projection.label(event)) == [1, 0]
    assert spec.schema_hash(strict) != spec.schema_hash(VIEW)
    with pytest.raises(ValueError, match="greatest amount"):
        replace(VIEW, ordinary_minor=None)
