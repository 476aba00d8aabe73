"""What a process learns of the memory that its container may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from plinth_kit import metrics


@pytest.mark.parametrize(
    ("version_2", "version_1", "limit"),
    [
        ("536870912\n", None, 536_870_912),
        ("max\n", None, 0),
        (None, "402653184\n", 402_653_184),
        (None, "9223372036854771712\n", 0),
        (None, None, 0),
    ],
)
def test_the_limit_is_that_of_the_container(
    tmp_path: Path, version_2: str | None, version_1: str | None, limit: int
) -> None:
    files = tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes"
    for file, text in zip(files, (version_2, version_1), strict=True):
        if text is not None:
            file.write_text(text)
    assert metrics.memory_limit(files) == limit


def test_every_service_tells_its_limit() -> None:
    assert metrics.registry().get_sample_value("plinth_memory_limit_bytes") is not None
