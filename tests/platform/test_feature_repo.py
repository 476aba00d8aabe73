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


def test_the_fifteen_features_in_the_order_of_the_model() -> None:
    names = spec.load(ROOT / "feature_repo" / "compiled" / "fraud.json").names
    assert names[:5] == (
        "amount",
        "is_weekend",
        "is_night",
        "customer_tx_count_1d",
        "customer_amount_mean_1d",
    )
    assert len(names) == 15
