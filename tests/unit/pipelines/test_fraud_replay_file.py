"""A person's own file: what is read of it, and what is said of one that cannot be replayed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from plinth_pipelines.fraud.replay_file import Columns, UnreadableError, main, read

HEAD = "id,card,shop,when,euros,fraud"
COLUMNS = Columns("id", "card", "shop", "when", "euros", label="fraud")


def file_of(folder: Path, *rows: str) -> Path:
    path = folder / "tx.csv"
    path.write_text("\n".join([HEAD, *rows]) + "\n")
    return path


def test_rows_come_in_order_of_time_with_amounts_in_cents(tmp_path: Path) -> None:
    late, early = "b,596,007,2018-08-22 09:31:00,812.10,yes", "a,596,7,2018-08-22T09:30:00Z,57.16,0"
    frame = read(file_of(tmp_path, late, early), COLUMNS)
    assert list(frame["transaction_id"]) == ["a", "b"]
    assert list(frame["terminal_id"]) == ["7", "007"]
    assert list(frame["amount_minor"]) == [5716, 81210]
    assert list(frame["is_fraud"]) == [False, True]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("a b,596,7,2018-08-22,1.00,0", r"row 2 is no transaction: must be 1 to 64 .* `\$.transaction_id`"),
        ("b,596,,2018-08-22,1.00,0", r"shop of row 2 makes no sense: <NA>"),
        ("b,596,7,2018-08-22,-1.00,0", r"row 2 .* `int` >= 0 - at `\$.amount_minor`"),
        ("b,596,7,2018-08-22,much,0", r"euros of row 2 makes no sense: 'much'"),
        ("b,596,7,08/22/2018,1.00,0", r"when of row 2 makes no sense: '08/22/2018'; .* ISO 8601"),
        ("b,596,7,2018-08-22,inf,0", r"euros of row 2 makes no sense"),
        ("b,596,7,2018-08-22,1.00,", r"fraud of row 2 makes no sense: <NA>; .* 1 or 0"),
        ("b,596,7,2018-08-22,1.00,maybe", r"fraud of row 2 makes no sense: 'maybe'"),
        ("b,596,7,yesterday,1.00,0", r"when of row 2 makes no sense: 'yesterday'"),
    ],
)
def test_a_row_that_the_platform_would_refuse_is_named_before_anything_is_sent(
    tmp_path: Path, row: str, says: str
) -> None:
    with pytest.raises(UnreadableError, match=says):
        read(file_of(tmp_path, "a,596,7,2018-08-22,1.00,0", row), COLUMNS)


def test_a_missing_column_is_named_beside_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match=r"has no column transaction_id, .*it has id, card"):
        read(file_of(tmp_path), Columns())


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\xff", b"PAR1 is no more"])
@pytest.mark.parametrize("name", ["tx.csv", "tx.parquet"])
def test_a_file_that_is_none_is_told_apart_from_a_fault(tmp_path: Path, name: str, content: bytes) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(UnreadableError, match=name):
        read(file, COLUMNS)


def test_parquet_keeps_integers_and_refuses_ids_that_became_floats(tmp_path: Path) -> None:
    row = {"id": ["a"], "card": [596], "shop": [7], "when": ["2018-08-22"], "euros": [1.0], "fraud": [1.0]}
    file = tmp_path / "tx.parquet"
    pd.DataFrame(row).to_parquet(file)
    frame = read(file, COLUMNS)
    assert (frame["customer_id"][0], bool(frame["is_fraud"][0])) == ("596", True)
    pd.DataFrame(row | {"card": [596.0]}).to_parquet(file)
    with pytest.raises(UnreadableError, match=r"card of row 1 .* text or an integer"):
        read(file, COLUMNS)


def test_from_the_command_line_a_file_that_cannot_be_read_ends_with_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KAFKA_BOOTSTRAP", "REDIS_URL", "MLFLOW_URL"):
        monkeypatch.setenv(f"PLINTH_{name}", "127.0.0.1:1")
    assert main([str(file_of(tmp_path)), "--customer-id", "card"]) == 1
    assert "has no column transaction_id, terminal_id" in capsys.readouterr().err
