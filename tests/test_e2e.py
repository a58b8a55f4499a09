"""The whole loop by its commands: train, export, enrol, watch, report; and no skew on the way."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge import cli as edge_cli
from export import cli as export_cli
from trainer import cli_eval, cli_train

COMMANDS: dict[str, Callable[[], None]] = {
    "fancl-train": cli_train.train,
    "fancl-eval": cli_eval.evaluate,
    "fancl-export": export_cli.main,
    "edge-watch": edge_cli.watch,
    "edge-gallery": edge_cli.gallery,
    "edge-report": edge_cli.report,
}


def run(name: str, *words: object) -> None:
    """One command as typed, in this process."""
    sys.argv = [name, *(str(word) for word in words)]
    with pytest.raises(SystemExit) as stop:
        COMMANDS[name]()
    assert stop.value.code == 0


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def watch_world(world: Path, model: Path, folder: Path) -> None:
    """Leaves the device's state, media.csv and event.csv in the folder."""
    state = folder / "state"
    run("edge-gallery", "enroll", world / "gallery", "--model", model, "--state", state)
    run(
        "edge-watch", world / "inbox", "--once", "--model", model, "--state", state,
        "--boxes", world / "inbox-boxes.json",
    )  # fmt: skip
    for level in ("media", "event"):
        table = folder / f"{level}.csv"
        run("edge-report", "csv", "--level", level, "--out", table, "--state", state)


def test_a_drawn_world_goes_through_the_loop(world: Path, model_file: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    watch_world(world, model_file, tmp_path)
    run("edge-report", "html", "--out", tmp_path / "page.html", "--state", state)
    truth = [row for row in rows(world / "truth.csv") if row["part"] == "inbox"]
    media = {
        "/".join(Path(row["file_path"]).parts[-2:]): row for row in rows(tmp_path / "media.csv")
    }
    assert set(media) == {row["path"] for row in truth}
    for row in truth:
        expected = "animal" if row["identity"] else "blank"
        assert media[row["path"]]["observation_type"] == expected
    event_of = {
        (row["encounter"], media[row["path"]]["event_id"]) for row in truth if row["identity"]
    }
    encounters = {row["encounter"] for row in truth if row["identity"]}
    assert len(event_of) == len(encounters) == len(rows(tmp_path / "event.csv"))
    assert "<html" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_runs_clusters_can_be_enrolled(
    world: Path, trained: Path, model_file: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    run("edge-gallery", "enroll", trained / "clusters.csv", "--model", model_file, "--state", state)
    run("edge-gallery", "list", "--state", state)
    labels = {row["pseudo_label"] for row in rows(trained / "clusters.csv")} - {"-1"}
    listed = subprocess.run(
        [sys.executable, "-c", "from edge.cli import gallery; gallery()", "list", "--state", state],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert listed.stdout.count("cluster ") == len(labels)


@pytest.mark.data
@pytest.mark.parametrize("name", ["opencows", pytest.param("nyala", marks=pytest.mark.slow)])
def test_the_device_matches_real_animals_as_the_trainer_does(
    name: str, shared: Path, tmp_path: Path
) -> None:
    """Trained without labels, exported, enrolled, watched: the same nearest animal, the same
    similarity as fancl-eval finds with torch."""
    data, run_dir, state = shared / "data" / name, tmp_path / "run", tmp_path / "state"
    weights = shared / "weights" / "mobilenetv2_035.imagenet.safetensors"
    run(
        "fancl-train", data, "--out", run_dir, "--backbone", "mobilenetv2_035",
        "--weights", weights, "--size", "64x64", "--epochs", 1, "--iterations", 2,
        "--device", "cpu",
    )  # fmt: skip
    run("fancl-eval", run_dir, data, "--no-controls", "--per-query", tmp_path / "q.csv")
    run("fancl-export", run_dir, "--onnx")
    model = run_dir / "model.onnx"
    run(
        "edge-gallery", "enroll", data / "metadata.csv", "--split", "gallery",
        "--model", model, "--state", state,
    )  # fmt: skip
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    queries = {Path(row["path"]).name: row for row in rows(tmp_path / "q.csv")}
    for file_name, row in queries.items():
        shutil.copy2(data / row["path"], inbox / file_name)
    run("edge-watch", inbox, "--once", "--model", model, "--state", state)
    run("edge-report", "csv", "--level", "media", "--out", tmp_path / "m.csv", "--state", state)
    media = {Path(row["file_path"]).name: row for row in rows(tmp_path / "m.csv")}
    assert set(media) == set(queries)
    same = [media[key]["best_name"] == row["best_identity"] for key, row in queries.items()]
    apart = [
        abs(float(media[key]["best_similarity"]) - float(row["best_similarity"]))
        for key, row in queries.items()
    ]
    assert np.mean(same) >= 0.995
    assert max(apart) <= 2e-3
