"""A data manifest that changes with the data, and a revision that is there or says that it is not."""

from pathlib import Path

import pandas as pd

from plinth_pipelines.fraud.provenance import code_revision, digest, manifest

TABLE = pd.DataFrame(
    {
        "event_ts": pd.to_datetime(["2024-05-01", "2024-05-02"], utc=True),
        "is_fraud": [True, False],
        "n": [1, 2],
    }
)


def test_digest_depends_on_values_order_and_names_alone() -> None:
    other = [TABLE.assign(n=[1, 3]), TABLE[::-1], TABLE.rename(columns={"n": "m"}), TABLE[:1]]
    assert len({digest(table) for table in [TABLE, *other]}) == 5
    assert digest(TABLE.set_index(pd.Index([7, 8]))) == digest(TABLE)


def test_manifest() -> None:
    made = manifest(TABLE, "simulate", {"days": 2})
    assert (made.source, made.config, made.rows, made.frauds) == ("simulate", {"days": 2}, 2, 1)
    assert (made.first_event, made.last_event) == ("2024-05-01T00:00:00+00:00", "2024-05-02T00:00:00+00:00")


def test_revision_outside_of_a_repository_is_unknown(tmp_path: Path) -> None:
    assert code_revision(tmp_path) == "unknown"
