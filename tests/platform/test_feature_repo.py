"""The committed compiled features are those that the declarations say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from plinth_features import spec

ROOT = Path(__file__).parents[2]


def test_compiled_features_are_up_to_date_and_applied_twice_without_harm(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from plinth_features import spec; from plinth_pipelines import features\n"
        f"repo, state = Path({str(ROOT / 'feature_repo')!r}), Path({str(tmp_path)!r})\n"
        "for _ in range(2):\n    found = features.apply(repo, state)\n"
        "import sys; sys.stdout.buffer.write(b'\\x00' + spec.dump(found[0]))"
    )
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, check=True)
    committed = ROOT / "feature_repo" / "compiled" / "fraud.json"
    assert ran.stdout.rpartition(b"\x00")[2] == committed.read_bytes()


def test_the_handbooks_fifteen_features_come_first_within_their_views() -> None:
    service = spec.load(ROOT / "feature_repo" / "compiled" / "fraud.json")
    assert service.names[:5] == (
        "amount",
        "is_weekend",
        "is_night",
        "customer_tx_count_1d",
        "customer_amount_mean_1d",
    )
    for view in service.views:
        assert [(a.function, a.window_s) for a in view.aggregations[:6]] == [
            (function, days * spec.DAY) for days in (1, 7, 30) for function in ("count", "mean")
        ]
    assert len(service.names) == 32
