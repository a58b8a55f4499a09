"""Bad input to fancl-train and fancl-eval: one sentence with what to do, exit code 1."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from trainer import cli_eval, cli_train


def run(command, *words: object) -> None:
    sys.argv = ["fancl", *(str(word) for word in words)]
    command()


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        pixels = rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{index}.jpg"), pixels)
    return folder


def refused(capsys: pytest.CaptureFixture[str], command, *words: object) -> str:
    with pytest.raises(SystemExit) as stop:
        run(command, *words)
    assert stop.value.code == 1
    said = " ".join(capsys.readouterr().err.split())
    assert said.startswith("error: ") or " error: " in said
    assert "Traceback" not in said
    return said


SMALL = ("--backbone", "small-cnn")


def test_no_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").write_text("none here")
    said = refused(capsys, cli_train.train, tmp_path / "data", "--out", tmp_path / "run", *SMALL)
    assert "no pictures" in said
    assert "give a folder" in said


def test_the_folder_is_looked_at_before_weights_are_fetched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: object) -> None:
        pytest.fail("weights were fetched for a folder without pictures")

    monkeypatch.setattr("trainer.run.load_backbone", fetch)
    (tmp_path / "data").mkdir()
    said = refused(capsys, cli_train.train, tmp_path / "data", "--out", tmp_path / "run")
    assert "no pictures" in said


def test_a_folder_that_does_not_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, cli_train.train, tmp_path / "gone", "--out", tmp_path / "run", *SMALL)
    assert "does not exist" in said


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EACCES, "let this user read and write there"),
        (errno.ENOSPC, "free some space"),
        (errno.EIO, "check the disk"),
    ],
)
def test_what_the_system_refuses_is_named_with_what_helps(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    advice: str,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "/data/photos")

    monkeypatch.setattr("trainer.run.read_collection", refuse)
    said = refused(capsys, cli_train.train, tmp_path, "--out", tmp_path / "run", *SMALL)
    assert f"/data/photos: {os.strerror(number)}; {advice}" in said
    assert "cannot write" not in said


def test_fewer_pictures_than_a_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = pictures(tmp_path / "data", 5)
    said = refused(capsys, cli_train.train, data, "--out", tmp_path / "run", *SMALL)
    assert "5 crops are fewer than a batch of 64" in said
    assert "--set batch.clusters=N" in said
    assert not (tmp_path / "run").exists()


def test_only_broken_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = pictures(tmp_path / "data", 2)
    for path in data.iterdir():
        path.write_bytes(path.read_bytes()[:200])
    said = refused(capsys, cli_train.train, data, "--out", tmp_path / "run", *SMALL)
    assert "2 cannot be decoded" in said


def test_weights_that_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = pictures(tmp_path / "data", 2)
    weights = tmp_path / "other.safetensors"
    save_file({"conv1.weight": torch.zeros(3, 3)}, str(weights))
    words = (data, "--out", tmp_path / "run", *SMALL, "--weights", weights)
    said = refused(capsys, cli_train.train, *words)
    assert "do not fit" in said
    assert "check --backbone and --weights" in said


def test_weights_made_for_another_backbone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "m.safetensors"
    save_file({"x": torch.zeros(1)}, str(weights), metadata={"timm": "mobilenetv2_100"})
    data = pictures(tmp_path / "data", 2)
    said = refused(
        capsys, cli_train.train, data, "--out", tmp_path / "run",
        "--backbone", "mobilenetv2_035", "--weights", weights,
    )  # fmt: skip
    assert "--backbone mobilenetv2_100" in said


def test_weights_out_of_reach(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    data = pictures(tmp_path / "data", 2)
    said = refused(capsys, cli_train.train, data, "--out", tmp_path / "run")
    assert "cannot get the ImageNet weights of resnet50" in said
    assert "--weights FILE" in said


def test_an_unknown_backbone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = pictures(tmp_path / "data", 2)
    words = (data, "--out", tmp_path / "run", "--backbone", "mobilenet_v9")
    assert "no backbone is named" in refused(capsys, cli_train.train, *words)


def test_bursts_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = pictures(tmp_path / "data", 70)
    words = (data, "--out", tmp_path / "run", *SMALL, "--bursts", "column")
    assert "too few pictures share a value" in refused(capsys, cli_train.train, *words)


@pytest.mark.parametrize("change", ["clustering.unit=bursts", "batch.spread_bursts=on"])
def test_settings_for_bursts_where_none_are_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    data, out = pictures(tmp_path / "data", 70), tmp_path / "run"
    said = refused(capsys, cli_train.train, data, "--out", out, *SMALL, "--set", change)
    assert "need bursts" in said
    assert "--bursts" in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--method", "supervised", "--set", "loss.temperature=0.1"), "not for supervised"),
        (("--method", "supervised", "--bursts", "column"), "for the label-free methods"),
        (("--method", "supervised", "--recipe", "paper"), "for the label-free methods"),
        (("--recipe", "paper", "--bursts", "auto"), "does not use bursts"),
    ],
)
def test_flags_that_would_do_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], sentence: str
) -> None:
    data, out = pictures(tmp_path / "data", 2), tmp_path / "run"
    said = refused(capsys, cli_train.train, data, "--out", out, *SMALL, *flags)
    assert sentence in said
    assert not out.exists()


def test_two_sources_of_boxes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (tmp_path, "--out", tmp_path / "run", "--boxes", "a.json", "--detector", "motion")
    assert "give one of them" in refused(capsys, cli_train.train, *words)
    assert not (tmp_path / "run").exists()


def test_a_size_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (tmp_path, "--out", tmp_path / "run", *SMALL, "--size", "big")
    assert "height x width" in refused(capsys, cli_train.train, *words)


def test_evaluation_without_labels(
    tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = pictures(tmp_path / "data", 2)
    assert "no labels" in refused(capsys, cli_eval.evaluate, trained, data)


def test_evaluation_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no checkpoint" in refused(capsys, cli_eval.evaluate, tmp_path, tmp_path)
