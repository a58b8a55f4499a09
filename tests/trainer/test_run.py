"""A run from pictures to its directory: what it leaves, how it goes on, what it refuses."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from edge.errors import FanclError, InputError
from trainer.changes import with_changes
from trainer.run import RunRequest, train
from trainer.settings import FanclConfig, Method

from ..tiny_run import Quiet, request_for, tiny_config, with_method


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def figures(run: Path) -> list[dict[str, str]]:
    """Rows of metrics.csv without what a clock gives."""
    kept = rows(run / "metrics.csv")
    return [{key: row[key] for key in row if not key.endswith("seconds")} for row in kept]


class StopAt(Quiet):
    """Presses Ctrl-C when it hears of some progress."""

    def __init__(self, what: str, note: str) -> None:
        super().__init__()
        self._what, self._note = what, note

    def progress(self, what: str, done: int, total: int, note: str = "") -> None:
        if what == self._what and self._note in note:
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


@pytest.mark.parametrize(
    ("method", "bursts", "what", "note"),
    [
        ("fancl", "auto", "training", "epoch 2"),
        ("fancl", "auto", "warm-up on bursts", "loss"),
        ("cluster-contrast", "auto", "training", "epoch 2"),
        ("fancl", "off", "training", "epoch 1"),
    ],
)
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    world: Path, tmp_path: Path, method: Method, bursts: str, what: str, note: str
) -> None:
    def configure(num_crops: int, use_bursts: bool, random_start: bool) -> FanclConfig:
        config = with_method(tiny_config(num_crops, use_bursts, random_start), method)
        return with_changes(
            config, ["schedule.decay_epochs=1", "kept.start_share=0.3", "kept.whitening=0.8"]
        )

    def request(out: Path) -> RunRequest:
        return dataclasses.replace(request_for(world, out), configure=configure, bursts=bursts)

    train(request(tmp_path / "straight"), Quiet())
    with pytest.raises(KeyboardInterrupt):
        train(request(tmp_path / "stopped"), StopAt(what, note))
    told = Quiet()
    train(request(tmp_path / "stopped"), told)
    assert any("going on" in sentence for sentence in told.sentences)
    assert figures(tmp_path / "stopped") == figures(tmp_path / "straight")
    assert rows(tmp_path / "stopped" / "steps.csv") == rows(tmp_path / "straight" / "steps.csv")
    straight = load_file(str(tmp_path / "straight" / "encoder.safetensors"))
    resumed = load_file(str(tmp_path / "stopped" / "encoder.safetensors"))
    assert all(straight[key].equal(resumed[key]) for key in straight)


def test_a_resumed_run_keeps_its_precision(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(request_for(world, out), StopAt("training", "epoch 2"))
    train(dataclasses.replace(request_for(world, out), precision="bf16"), Quiet())
    assert json.loads((out / "config.json").read_text())["precision"] == "fp32"


def table_of(world: Path, path: Path, identity: str) -> Path:
    """The drawn training pictures as a metadata.csv with labels that must not matter."""
    names = [row["path"] for row in rows(world / "truth.csv") if row["part"] == "train"]
    lines = [
        f"{world / 'train' / name},{identity}{index % 3},{'test' if index % 4 == 0 else 'train'}"
        for index, name in enumerate(names)
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["path,identity,split", *lines]) + "\n")
    return path


def test_labels_and_test_rows_do_not_reach_label_free_training(world: Path, tmp_path: Path) -> None:
    weights = []
    for identity in ("cow", "antelope"):
        table = table_of(world, tmp_path / identity / "metadata.csv", identity)
        request = request_for(world, tmp_path / f"run-{identity}")
        train(dataclasses.replace(request, data=table, boxes=None), Quiet())
        weights.append(load_file(str(request.out / "encoder.safetensors")))
        kept = {row["path"] for row in rows(request.out / "clusters.csv")}
        wanted = {row["path"] for row in rows(table) if row["split"] == "train"}
        assert kept == wanted
    assert all(weights[0][key].equal(weights[1][key]) for key in weights[0])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_not_utf8_does_not_stop_a_run(world: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(world / "train", data)
    first = next(data.rglob("*.JPG"))
    odd = os.fsdecode(b"caf\xe9.jpg")
    first.rename(first.with_name(odd))
    request = dataclasses.replace(request_for(world, tmp_path / "run"), data=data, boxes=None)
    train(request, Quiet())
    assert b"caf\xe9.jpg" in (tmp_path / "run" / "clusters.csv").read_bytes()


def test_another_seed_gives_another_start(world: Path, trained: Path, tmp_path: Path) -> None:
    def configure(num_crops: int, use_bursts: bool, random_start: bool) -> FanclConfig:
        config = tiny_config(num_crops, use_bursts, random_start)
        schedule = dataclasses.replace(config.schedule, epochs=1)
        return dataclasses.replace(config, seed=2, schedule=schedule)

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
    with pytest.raises(
        InputError, match=r"another run \(different: backbone.height, backbone.width, input"
    ):
        train(other, Quiet())


def test_a_folder_with_other_files_is_not_taken_for_a_run(world: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        train(request_for(world, tmp_path), Quiet())


def test_a_collapse_is_said_and_stops_the_run(world: Path, tmp_path: Path) -> None:
    """Three epochs without clusters: an eps so small that no two pictures meet."""

    def configure(num_crops: int, use_bursts: bool, random_start: bool) -> FanclConfig:
        config = tiny_config(num_crops, False, random_start)
        schedule = dataclasses.replace(config.schedule, epochs=5)
        config = dataclasses.replace(config, schedule=schedule)
        return with_changes(config, ["clustering.eps=1e-6", "clustering.min_samples=30"])

    told = Quiet()
    request = dataclasses.replace(
        request_for(world, tmp_path / "run"), configure=configure, bursts="off"
    )
    with pytest.raises(FanclError, match="collapsed in 3 epochs"):
        train(request, told)
    assert sum("nothing to learn from" in sentence for sentence in told.sentences) == 3
    assert not (tmp_path / "run" / "encoder.safetensors").exists()
    with pytest.raises(FanclError, match="collapsed in 4 epochs"):
        train(request, Quiet())


def test_a_run_that_never_learned_does_not_end_as_done(world: Path, tmp_path: Path) -> None:
    def configure(num_crops: int, use_bursts: bool, random_start: bool) -> FanclConfig:
        config = tiny_config(num_crops, False, random_start)
        return with_changes(config, ["clustering.eps=1e-6", "clustering.min_samples=30"])

    request = dataclasses.replace(
        request_for(world, tmp_path / "run"), configure=configure, bursts="off"
    )
    for _ in range(2):  # the second time the run is there already
        with pytest.raises(FanclError, match="nothing was trained"):
            train(request, Quiet())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_run_trains_and_goes_on_on_a_gpu(world: Path, tmp_path: Path) -> None:
    """Every setting that touches the device: noise, memories, erasing, the kept encoder."""

    def configure(num_crops: int, use_bursts: bool, random_start: bool) -> FanclConfig:
        changes = ["fana.mode=rects", "fana.density=0.5", "augment.erasing=on"]
        changes += ["kept.start_share=0.3", "kept.whitening=0.8"]
        return with_changes(tiny_config(num_crops, use_bursts, random_start), changes)

    def request(out: Path) -> RunRequest:
        return dataclasses.replace(
            request_for(world, out),
            configure=configure,
            device=torch.device("cuda"),
            precision="bf16",
        )

    train(request(tmp_path / "straight"), Quiet())
    with pytest.raises(KeyboardInterrupt):
        train(request(tmp_path / "stopped"), StopAt("training", "epoch 2"))
    train(request(tmp_path / "stopped"), Quiet())
    straight, stopped = (
        rows(tmp_path / "straight" / "steps.csv"),
        rows(tmp_path / "stopped" / "steps.csv"),
    )
    losses = [float(row["loss"]) for row in straight]
    assert all(np.isfinite(losses))
    assert [float(row["loss"]) for row in stopped] == pytest.approx(losses, rel=1e-2)
