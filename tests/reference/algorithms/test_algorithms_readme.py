"""The examples of the README run as they stand."""

import re
import runpy
from pathlib import Path

import pytest

README = Path(__file__).parents[3] / "libs/algorithms/README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_runs_alone(example: str, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(example, "utf-8")
    runpy.run_path(str(script))


def test_the_operating_point_of_the_example(tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(EXAMPLES[0], "utf-8")
    names = runpy.run_path(str(script))
    report, point = names["report"], names["point"]
    assert (report.recall, report.precision) == (point.recall, point.precision)
    assert report.fp / (report.fp + report.tn) == point.false_positive_rate <= 0.001


def test_every_module_is_in_the_table() -> None:
    modules = (README.parent / "src/plinth_algorithms").glob("[a-z]*.py")
    missing = [path.stem for path in modules if f"| `{path.stem}` |" not in README.read_text("utf-8")]
    assert missing == []
