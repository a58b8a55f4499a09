"""Training killed without warning at random moments goes on to the same losses."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.fault, pytest.mark.timeout(600)]
KILLS = 6


def command(world: Path, out: Path) -> list[str]:
    return [
        str(Path(sys.executable).with_name("fancl-train")), str(world / "train"),
        "--boxes", str(world / "train-boxes.json"), "--out", str(out), "--backbone", "small-cnn",
        "--size", "32x48", "--epochs", "6", "--iterations", "40", "--precision", "fp32",
        "--device", "cpu", "--set", "batch.clusters=4", "--set", "warm_up.steps=40",
        "--set", "clustering.eps=0.3", "--set", "clustering.k1=6",
    ]  # fmt: skip


def test_a_killed_run_leaves_the_losses_of_one_that_was_not(world: Path, tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    moments = random.Random(seed)
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    began = time.monotonic()
    subprocess.run(command(world, straight), check=True, capture_output=True)
    whole = time.monotonic() - began
    for _ in range(KILLS):
        running = subprocess.Popen(
            command(world, killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            running.wait(moments.uniform(0.3, 1.0) * whole)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
    subprocess.run(command(world, killed), check=True, capture_output=True)
    for name in ("steps.csv", "clusters.csv", "encoder.safetensors"):
        assert (killed / name).read_bytes() == (straight / name).read_bytes(), f"seed {seed}"
