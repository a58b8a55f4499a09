"""A run from pictures to its directory: what it leaves, how it goes on, what it refuses."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny_run import Quiet, request_for, tiny_config

from edge.errors import FanclError, InputError
from trainer.run import train


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def figures(run: Path) -> list[dict[str, str]]:
    return [{key: row[key] for key in row if key != "seconds"} for row in rows(run / "metrics.csv")]


class StopAfterFirstEpoch(Quiet):
    """Presses Ctrl-C in the middle of the second epoch."""

    def progress(self, what: str, done: int, total: int, note: str = "") -> None:
        if what == "training" and "epoch 2" in note:
            raise KeyboardInterrupt


def test_a_run_leaves_figures_clusters_and_weights(trained: Path, world: Path) -> None:
    assert [row["epoch"] for row in rows(trained / "metrics.csv")] == ["1", "2"]
    boxes = json.loads((world / "train-boxes.json").read_text())["images"]
    clusters = rows(trained / "clusters.csv")
    assert len(clusters) == sum(len(image["detections"]) for image in boxes)
    assert {len(row["sha256"]) for row in clusters} == {64}
    for row in clusters:
        assert (world / "train" / row["path"]).is_file()
        assert (row["pseudo_label"] == "-1") == (row["similarity_to_centre"] == "nan")
    assert (trained / "start.safetensors").is_file()
    before = load_file(str(trained / "start.safetensors"))
    after = load_file(str(trained / "encoder.safetensors"))
    assert any(not before[key].equal(after[key]) for key in before)


def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    world: Path, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(request_for(world, out), StopAfterFirstEpoch())
    assert len(rows(out / "metrics.csv")) == 1
    told = Quiet()
    train(request_for(world, out), told)
    assert any("going on" in sentence for sentence in told.sentences)
    assert figures(out) == figures(trained)
    straight = load_file(str(trained / "encoder.safetensors"))
    resumed = load_file(str(out / "encoder.safetensors"))
    assert all(straight[key].equal(resumed[key]) for key in straight)


def test_another_seed_gives_another_start(world: Path, trained: Path, tmp_path: Path) -> None:
    def configure(num_crops: int, use_bursts: bool, random_start: bool):
        config = tiny_config(num_crops, use_bursts, random_start)
        return dataclasses.replace(config, seed=2, epochs=1)

    out = tmp_path / "run"
    train(dataclasses.replace(request_for(world, out), configure=configure), Quiet())
    first = load_file(str(trained / "start.safetensors"))["backbone.conv1.weight"]
    other = load_file(str(out / "start.safetensors"))["backbone.conv1.weight"]
    assert not first.equal(other)


def test_a_random_start_is_said_aloud(world: Path, tmp_path: Path) -> None:
    told = Quiet()
    train(request_for(world, tmp_path / "run"), told)
    assert any("RANDOM weights" in sentence for sentence in told.sentences)


def test_a_finished_run_is_left_alone(world: Path, trained: Path) -> None:
    before = (trained / "encoder.safetensors").read_bytes()
    told = Quiet()
    train(request_for(world, trained), told)
    assert any("is finished" in sentence for sentence in told.sentences)
    assert (trained / "encoder.safetensors").read_bytes() == before


def test_other_settings_in_a_run_are_refused(world: Path, trained: Path) -> None:
    other = dataclasses.replace(request_for(world, trained), height=64, width=96)
    with pytest.raises(InputError, match=r"another run \(different: input"):
        train(other, Quiet())


def test_a_folder_with_other_files_is_not_taken_for_a_run(world: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        train(request_for(world, tmp_path), Quiet())


def test_a_collapse_is_said_and_stops_the_run(world: Path, tmp_path: Path) -> None:
    """Three epochs without clusters: an eps so small that no two pictures meet."""

    def configure(num_crops: int, use_bursts: bool, random_start: bool):
        config = tiny_config(num_crops, False, random_start)
        clustering = dataclasses.replace(config.clustering, eps=1e-6, min_samples=30)
        return dataclasses.replace(config, epochs=5, clustering=clustering)

    told = Quiet()
    request = dataclasses.replace(request_for(world, tmp_path / "run"), configure=configure)
    with pytest.raises(FanclError, match="collapsed in 3 epochs"):
        train(dataclasses.replace(request, bursts="off"), told)
    assert sum("nothing to learn from" in sentence for sentence in told.sentences) == 3
