"""READMEs lead where they say, and leave out no setting."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from feature_store.settings import EngineSettings
from fraud_scorer.settings import ApiSettings, RecorderSettings, WorkerSettings
from plinth_kit.settings import Settings
from plinth_pipelines.settings import PipelineSettings

ROOT = Path(__file__).resolve().parents[2]
READMES = sorted(
    path for path in ROOT.glob("**/README.md") if not set(path.parts) & {".venv", "node_modules"}
)


def anchors(file: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(readme: Path) -> None:
    for link in re.findall(r"\]\((?!https?://)([^)\s]+)\)", readme.read_text()):
        name, _, anchor = link.partition("#")
        target = readme.parent / name if name else readme
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize(
    ("readme", "settings"),
    [
        ("services/feature-store/README.md", [EngineSettings]),
        ("services/fraud-scorer/README.md", [ApiSettings, WorkerSettings, RecorderSettings]),
        ("pipelines/README.md", [PipelineSettings]),
    ],
)
def test_every_setting_is_in_its_table(readme: str, settings: list[type[BaseSettings]]) -> None:
    text = (ROOT / readme).read_text()
    own = {name for one in settings for name in one.model_fields} - Settings.model_fields.keys()
    names = {f"`PLINTH_{name.upper()}`" for name in own}
    assert {name for name in names if name not in text} == set()
