"""Runs of IndivAID and its relatives on drawn animals: what trains when, stops, and exports."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from edge.encoder import open_encoder
from edge.errors import InputError
from export.model_file import export_model
from trainer import checkpoint, cli_train
from trainer.changes import with_changes
from trainer.clip.settings import ClipMethod, IndivaidConfig, clip_config, planned
from trainer.run import RunRequest, train
from trainer.workplace import Record

from ..tiny_clip import RN50, VIT, written
from ..tiny_run import Quiet, export_request, request_for

SMALL = [
    "stage1.epochs=2", "stage1.batch=8", "stage2.epochs=2", "stage2.identities=2",
    "stage2.images=3", "stage2.learning_rate=1e-3", "stage1.learning_rate=1e-2",
]  # fmt: skip


def clip_request(
    world: Path,
    table: Path,
    out: Path,
    method: ClipMethod = "indivaid",
    changes: tuple[str, ...] = (),
    model: dict[str, Any] = VIT,
) -> RunRequest:
    def configure(num_crops: int, use_bursts: bool, random_start: bool) -> IndivaidConfig:
        small = [one for one in SMALL if method != "clip-finetune" or "stage1" not in one]
        return planned(
            with_changes(clip_config(method, "clip-reid", "okapi", 1), [*small, *changes])
        )

    return dataclasses.replace(
        request_for(world, out),
        data=table,
        boxes=None,
        backbone=written(table.parent, model),
        with_text=True,
        weights="none",
        height=64,
        width=64,
        bursts="off",
        configure=configure,
        score=True,
    )


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / checkpoint.METRICS).open(newline="") as file:
        return list(csv.DictReader(file))


def state(run: Path) -> dict[str, torch.Tensor]:
    tensors = load_file(str(run / checkpoint.STATE))
    return {
        key.removeprefix("model."): value
        for key, value in tensors.items()
        if key.startswith("model.")
    }


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], part: str) -> bool:
    keys = [key for key in first if key.startswith(part)]
    assert keys
    return all(torch.equal(first[key], second[key]) for key in keys)


class StoppedError(Exception):
    """Stands for a power cut."""


def stop_after(monkeypatch: pytest.MonkeyPatch, epochs: int) -> None:
    add = Record.add

    def stopping(self: Record, report: Any, step_losses: Any, scores: Any) -> None:
        add(self, report, step_losses, scores)
        if report.epoch == epochs:
            raise StoppedError

    monkeypatch.setattr(Record, "add", stopping)


@pytest.mark.parametrize("model", [VIT, RN50], ids=["ViT", "RN50"])
def test_each_stage_trains_its_own_part_and_a_stopped_run_goes_on(
    world: Path,
    labelled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: dict[str, Any],
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    told = Quiet()
    train(clip_request(world, labelled, whole, model=model), told)
    assert any("RANDOM" in sentence for sentence in told.sentences)
    rows = rows_of(whole)
    assert [(row["epoch"], row["stage"]) for row in rows] == [
        ("1", "1"), ("2", "1"), ("3", "2"), ("4", "2"),
    ]  # fmt: skip
    assert all(0 < float(row["mAP"]) <= 1 for row in rows)
    assert rows[0]["mAP"] == rows[1]["mAP"]  # stage 1 leaves the encoder alone
    assert float(rows[1]["loss"]) < float(rows[0]["loss"])
    assert rows[0]["description_cosine"] and not rows[0]["text_loss"]
    assert rows[3]["text_loss"] and not rows[3]["description_cosine"]
    seen = []
    for epochs in (1, 2, 3):
        with monkeypatch.context() as patch:
            stop_after(patch, epochs)
            with pytest.raises(StoppedError):
                train(clip_request(world, labelled, parts, model=model), Quiet())
        seen.append(state(parts))
    train(clip_request(world, labelled, parts, model=model), Quiet())
    first, second, third = seen
    for part in ("tower.", "heads."):
        assert same(first, second, part)
    assert not same(first, second, "generator.words")
    assert not same(first, second, "generator.meta")
    assert same(second, third, "generator.")
    for part in ("tower.", "heads.pooled_classifier", "attention."):
        assert not same(second, third, part)
    assert same(state(whole), state(parts), "tower.")
    for name in (checkpoint.STEPS, checkpoint.ENCODER):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("clip-reid", ()),
        ("clip-finetune", ()),
        ("indivaid", ("merge.kind=attention-static",)),
        ("indivaid", ("merge.kind=mean", "stage1.loss=released", "stage1.batch=1")),
        ("indivaid", ("stage1.loss=align",)),
    ],
)
def test_the_relatives_run_to_the_end(
    world: Path, labelled: Path, tmp_path: Path, method: ClipMethod, changes: tuple[str, ...]
) -> None:
    run = tmp_path / "run"
    changes = (*changes, "stage1.epochs=1") if method != "clip-finetune" else changes
    train(clip_request(world, labelled, run, method, (*changes, "stage2.epochs=1")), Quiet())
    tensors = state(run)
    assert any(key.startswith("generator.meta") for key in tensors) == (method == "indivaid")
    assert any(key.startswith("generator.") for key in tensors) == (method != "clip-finetune")
    attends = method == "indivaid" and not any("merge.kind" in one for one in changes)
    assert any(key.startswith("attention.") for key in tensors) == attends
    assert (run / "report.html").is_file()
    assert (rows_of(run)[-1]["text_loss"] == "") == (method == "clip-finetune")


def test_what_reaches_a_device_is_the_image_tower_alone(
    world: Path, labelled: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train(clip_request(world, labelled, run), Quiet())
    stored = checkpoint.load_encoder(run)
    assert stored.encoder.embedding_dim == 48 + 24
    assert stored.facts.backbone.mean == (0.5, 0.5, 0.5)
    names = set(stored.encoder.state_dict())
    assert not [name for name in names if "token_embedding" in name or "generator" in name]
    done = export_model(export_request(run, tmp_path / "model.onnx"), Quiet())
    assert done.num_bytes < 2e6  # the vocabulary alone would be 6 MB
    manifest = open_encoder(tmp_path / "model.onnx").manifest
    assert manifest.backbone == "open_clip:tiny.json"
    found = manifest.evaluation
    assert found is not None
    assert found.source == "labels"


def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    world: Path, labelled: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(InputError, match=r"--set stage2\.identities="):
        train(clip_request(world, labelled, run, changes=("stage2.identities=99",)), Quiet())
    text = labelled.read_text().splitlines()
    path, _, split = text[1].split(",")
    labelled.write_text("\n".join([text[0], f"{path},,{split}", *text[2:]]) + "\n")
    with pytest.raises(InputError, match="fancl and cluster-contrast need no labels"):
        train(clip_request(world, labelled, run), Quiet())
    assert not run.exists()


def test_identities_with_one_picture_are_kept_and_counted(
    world: Path, labelled: Path, tmp_path: Path
) -> None:
    text = labelled.read_text().splitlines()
    path, _, split = text[1].split(",")
    assert split == "train"
    labelled.write_text("\n".join([text[0], f"{path},hermit,{split}", *text[2:]]) + "\n")
    told = Quiet()
    train(clip_request(world, labelled, tmp_path / "run"), told)
    assert any("have one picture: kept" in sentence for sentence in told.sentences)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--method", "indivaid"), "--noun tiger"),
        (("--method", "indivaid", "--noun", "cow", "--epochs", "3"), "stage1.epochs=N"),
        (("--method", "indivaid", "--noun", "cow", "--preset", "okapi"), "no preset is named"),
        (("--method", "fancl", "--noun", "cow"), "are for indivaid"),
        (("--method", "indivaid", "--noun", "cow", "--backbone", "resnet50"), "a CLIP model"),
        (("--method", "indivaid", "--noun", "cow", "--bursts", "column"), "label-free methods"),
    ],
)
def test_flags_that_do_not_fit(
    labelled: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
    sentence: str,
) -> None:
    backbone = () if "--backbone" in flags else ("--backbone", written(tmp_path, VIT))
    if "fancl" in flags:
        backbone = ("--backbone", "small-cnn")
    words = ["fancl-train", str(labelled), "--out", str(tmp_path / "run"), *flags, *backbone]
    monkeypatch.setattr("sys.argv", [*words, "--weights", "none", "--size", "64x64"])
    with pytest.raises(SystemExit) as stop:
        cli_train.train()
    assert stop.value.code == 1
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()
