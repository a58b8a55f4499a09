"""fancl-eval on a drawn gallery: figures, controls, per-query rows."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

from trainer import cli_eval


def evaluate(*words: object) -> None:
    sys.argv = ["fancl-eval", *(str(word) for word in words)]
    with pytest.raises(SystemExit) as stop:
        cli_eval.evaluate()
    assert stop.value.code == 0


def test_json_and_per_query_agree(
    trained: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "queries.csv"
    evaluate(trained, world / "gallery", "--json", "--per-query", table)
    content = json.loads(capsys.readouterr().out)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert content["queries"] == len(rows)
    right = sum(row["identity"] == row["best_identity"] for row in rows)
    assert content["rank1"] == pytest.approx(right / len(rows))
    assert 0 < content["mAP"] <= 1
    assert set(content["controls"]) == {"random weights"}
    for row in rows:
        assert row["runner_up_identity"] != row["best_identity"]
        assert float(row["runner_up_similarity"]) <= float(row["best_similarity"])


def test_query_and_gallery_rows_of_a_table_are_used(
    trained: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = world / "gallery"
    with (source / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for index, row in enumerate(rows):
        row["path"] = str(source / row["path"])
        row["split"] = ("query", "gallery", "train")[index % 3]
    table = tmp_path / "metadata.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    evaluate(trained, table, "--json", "--no-controls")
    content = json.loads(capsys.readouterr().out)
    assert content["queries"] == sum(row["split"] == "query" for row in rows)
    assert "gallery of" in content["protocol"]
    assert content["controls"] == {}
