"""edge-admin model: what it says of a model, and how models are put in place and taken back."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.encoder import open_encoder
from edge.model import Decision, Evaluation, Fidelity
from edge.model_file import describe, speed
from edge.record.state import StateFolder, locked

from .conftest import DECISION, NO_DECISION, Device, Ran, write_model

EVALUATION = Evaluation(
    source="labels", protocol="split", queries=120, gallery=480, rank1=0.875, mAP=0.5
)
FIDELITY = Fidelity(
    num_crops=300,
    mean_cosine=0.9991,
    low_cosine=0.9972,
    rank1_fp32=0.88,
    mAP_fp32=0.52,
    tolerated_mAP_loss=0.01,
    forced=True,
)


def model_command(device: Device, *words: object) -> Ran:
    return device.run("admin", "model", *(str(word) for word in words))


def test_info_says_in_words_what_the_manifest_says(device: Device, tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "m.onnx", evaluation=EVALUATION, fidelity=FIDELITY, precision="fp16",
        species="leopard", licence="CC-BY-4.0",
    )  # fmt: skip
    ran = model_command(device, "info", path)
    assert ran.code == 0, ran.err
    lines = dict(line.split(": ", 1) for line in ran.out.splitlines())
    assert lines["species"] == "leopard"
    assert "in 87.5 % (rank-1); mean average precision (mAP) was 50.0 %" in lines["quality"]
    assert "120 pictures among 480 pictures" in lines["quality"]
    assert "300 crops" in lines["precision"] and "mean cosine of 0.9991" in lines["precision"]
    assert "2.00 points of mAP lost; a loss of 1.00 was tolerated. It lost more" in ran.out
    assert "match at a similarity of 0.800 or more and new below 0.600" in lines["thresholds"]
    assert "Of 100 visits of strangers expect about 10 to get a known name" in lines["errors"]
    assert "about 5 to be called new" in lines["errors"]
    assert lines["licence"] == "The weights are licensed: CC-BY-4.0."
    assert lines["takes"].startswith("RGB crops of 8 x 8 pixels (width x height), squashed")


def test_info_says_what_is_not_known(device: Device, tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", decision=NO_DECISION)
    ran = model_command(device, "info", path)
    for told in (
        "was not measured. It may do no better than chance",
        "nothing was rounded",
        "No thresholds travel with it",
        "Without thresholds there are no error rates",
        "licence of the weights is not stated",
    ):
        assert told in ran.out


def test_pseudo_labels_are_called_optimistic_and_an_unmeasured_rate_is_named() -> None:
    guessed = Decision(
        source="pseudo-labels", match_threshold=0.8, new_threshold=0.6, wrong_name_rate=0.1,
        false_new_rate=None,
    )  # fmt: skip
    assert "optimistic" in describe.error_rates(guessed)
    assert "a known animal is called new was not measured" in describe.error_rates(guessed)
    assert "optimistic" not in describe.error_rates(DECISION)


def test_a_share_is_never_rounded_to_all_or_nothing() -> None:
    shares = (0, 0.0001, 0.005, 0.9999, 1)
    assert [describe.percent(one) for one in shares] == [
        "0.0 %", "below 0.1 %", "0.5 %", "above 99.9 %", "100.0 %",
    ]  # fmt: skip


def test_info_prints_no_name_that_steers_the_terminal(device: Device, tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", name="evil\x1b[2J\nlicence: free\u202e")
    ran = model_command(device, "info", path)
    assert ran.out.splitlines()[0] == r"name: evil\x1b[2J\x0alicence: free\u202e"


def test_verify_tells_every_check_and_the_speed_in_one_line(device: Device) -> None:
    ran = model_command(device, "verify", device.model)
    assert ran.code == 0, ran.err
    lines = dict(line.split(": ", 1) for line in ran.out.splitlines() if ": " in line)
    assert lines["check"].startswith("3 embeddings reproduced, worst cosine 1.0000")
    assert "runs on cpu, there is no other here (onnxruntime" in ran.out
    assert "crops a second (median of 5 rounds of 16 crops, 8 x 8 pixels" in lines["speed here"]
    assert not device.state.exists()


def test_the_speed_is_the_median_round(tiny_model: Path) -> None:
    moments = itertools.chain.from_iterable((at, at + took) for at, took in
        ((0, 1.0), (10, 8.0), (20, 2.0), (30, 100.0), (40, 1.5)))  # fmt: skip
    measured = speed.measure(open_encoder(tiny_model), lambda: next(moments))
    assert measured.crops_per_second == 16 / 2.0


def test_without_a_file_the_installed_model_is_meant(device: Device) -> None:
    for verb in ("info", "verify"):
        ran = model_command(device, verb, "--state", device.state)
        assert ran.code == 1
        assert "no model" in ran.err and "edge-admin model install" in ran.err
    model_command(device, "install", device.model, "--state", device.state)
    for verb in ("info", "verify"):
        assert model_command(device, verb, "--state", device.state).code == 0


@pytest.mark.parametrize("verb", ["info", "verify", "install"])
def test_a_damaged_model_is_refused_by_every_verb(
    device: Device, tmp_path: Path, verb: str
) -> None:
    data = bytearray(device.model.read_bytes())
    data[5000] ^= 1
    (tmp_path / "bad.onnx").write_bytes(data)
    ran = model_command(device, verb, tmp_path / "bad.onnx", "--state", device.state)
    assert ran.code == 1
    assert ran.err.startswith(f"error: {tmp_path / 'bad.onnx'}: the model is not as fancl-export")
    assert not (device.state / "model.onnx").exists()


def in_use(device: Device) -> tuple[bytes, bytes]:
    state = device.state
    return (state / "model.onnx").read_bytes(), (state / "model.previous.onnx").read_bytes()


@pytest.fixture
def two(device: Device, tmp_path: Path) -> tuple[bytes, bytes]:
    """Another model installed over the tiny one: (its bytes, the tiny one's)."""
    other = write_model(tmp_path / "other.onnx", seed=1, name="other")
    for path in (device.model, other):
        assert model_command(device, "install", path, "--state", device.state).code == 0
    return other.read_bytes(), device.model.read_bytes()


def test_rollback_takes_back_the_model_before_and_again_forward(
    device: Device, two: tuple[bytes, bytes]
) -> None:
    new, old = two
    assert in_use(device) == (new, old)
    ran = model_command(device, "rollback", "--state", device.state)
    assert ran.code == 0, ran.err
    assert ran.out.startswith("rolled back to tiny, encoder ")
    assert in_use(device) == (old, new)
    assert model_command(device, "rollback", "--state", device.state).out.startswith(
        "rolled back to other, "
    )
    assert in_use(device) == (new, old)


def test_nothing_to_roll_back_to_is_a_sentence(device: Device) -> None:
    model_command(device, "install", device.model, "--state", device.state)
    ran = model_command(device, "rollback", "--state", device.state)
    assert ran.code == 1
    assert "there is no model to go back to" in ran.err


def test_a_broken_previous_model_is_not_rolled_back_to(
    device: Device, two: tuple[bytes, bytes]
) -> None:
    path = device.state / "model.previous.onnx"
    path.write_bytes(two[1][:-1])
    ran = model_command(device, "rollback", "--state", device.state)
    assert ran.code == 1
    assert "model.previous.onnx" in ran.err
    assert (device.state / "model.onnx").read_bytes() == two[0]


def test_rollback_asks_the_gallery_too(known: Device, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other.onnx", seed=1, name="other")
    state = ("--state", known.state)
    assert model_command(known, "install", other, *state, "--force").code == 0
    assert model_command(known, "install", known.model, *state).code == 0
    ran = model_command(known, "rollback", *state)
    assert ran.code == 1
    assert ran.err.startswith("error: not rolled back: the gallery in") and "--force" in ran.err
    assert (known.state / "model.onnx").read_bytes() == known.model.read_bytes()
    assert model_command(known, "rollback", *state, "--force").code == 0
    assert (known.state / "model.onnx").read_bytes() == other.read_bytes()


def test_a_model_that_changes_while_it_is_checked_is_not_installed_unchecked(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, another = tmp_path / "m.onnx", tmp_path / "another"
    path.write_bytes(device.model.read_bytes())
    another.write_bytes(b"another")
    really_open = Path.open

    def open_and_swap(self: Path, *words: Any, **named: Any) -> Any:
        opened = really_open(self, *words, **named)
        if self == path and another.exists():
            another.replace(path)
        return opened

    monkeypatch.setattr(Path, "open", open_and_swap)
    ran = model_command(device, "install", path, "--state", device.state)
    assert ran.code == 0, ran.err
    assert path.read_bytes() == b"another"
    assert (device.state / "model.onnx").read_bytes() == device.model.read_bytes()


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_at_any_moment_leaves_one_working_model(
    device: Device,
    two: tuple[bytes, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: int,
) -> None:
    third = write_model(tmp_path / "third.onnx", seed=2, name="third")
    path, really_sync = device.state / "model.onnx", os.fsync
    refusals = 0
    for good_calls in range(20):
        calls = iter(range(20))

        def fail(descriptor: int, calls: Iterator[int] = calls, limit: int = good_calls) -> None:
            if next(calls) == limit:
                raise OSError(fault, os.strerror(fault))
            really_sync(descriptor)

        monkeypatch.setattr(os, "fsync", fail)
        ran = model_command(device, "install", third, "--state", device.state)
        monkeypatch.setattr(os, "fsync", really_sync)
        assert path.read_bytes() in (two[0], third.read_bytes())
        open_encoder(path)
        if ran.code == 0:
            break
        assert ran.err.startswith("error: cannot write ") and os.strerror(fault) in ran.err
        assert "installed" not in ran.out
        refusals += 1
    assert refusals >= 4
    assert in_use(device) == (third.read_bytes(), two[0])


def test_rollback_and_install_wait_for_nobody(device: Device, two: tuple[bytes, bytes]) -> None:
    with locked(StateFolder(root=device.state)):
        for words in (("rollback",), ("install", device.model)):
            ran = model_command(device, *words, "--state", device.state)
            assert ran.code == 1
            assert "is in use by another edge-watch" in ran.err
