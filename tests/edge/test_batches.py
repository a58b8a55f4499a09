"""What is decided depends neither on how pictures are batched nor on how many work at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.watch.batch import take_batch

from .conftest import Device, draw, save

WHO = {"cam1": "AAXXB", "cam2": "XXC", "cam3": "YAAXX"}  # a letter a frame, events of one letter
KEYS = ("deployment_id", "start", "num_frames", "decision", "similarity", "runner_up_similarity")


def _events(device: Device, state: Path, *settings: str) -> list[tuple[str, ...]]:
    config = state.with_suffix(".toml")
    config.write_text("\n".join(settings))
    other = Device(inbox=device.inbox, state=state, model=device.model, run=device.run)
    for animal in "ABC":
        for shot in (1, 2):
            save(state.parent / "known" / animal / f"{shot}.jpg", draw(animal, shot=shot))
    assert other.enroll(state.parent / "known").code == 0
    ran = other.watch("--config", str(config))
    assert ran.code == 0, ran.err
    return sorted(tuple(row[key] for key in KEYS) for row in other.rows("event"))


def test_any_batch_size_and_any_number_of_workers_decide_the_same(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for camera, animals in WHO.items():
        minute = 0
        for shot, animal in enumerate(animals):
            minute += 0 if shot and animals[shot - 1] == animal else 10
            taken = f"2026-05-01 06:{minute:02d}:{shot:02d}"
            save(device.inbox / camera / f"{shot}.jpg", draw(animal, shot=10 + shot), taken)
    found = []
    for size, workers in ((32, 1), (1, 2), (3, 3)):
        monkeypatch.setattr(
            "edge.watch.watch.take_batch",
            lambda files, start, _, size=size: take_batch(files, start, size),
        )
        settings = (f"num_decoders = {workers}", f"num_threads = {workers}")
        found.append(_events(device, tmp_path / f"state{size}", *settings))
    assert found[0] == found[1] == found[2]
    assert {row[3] for row in found[0]} >= {"match", "new", "review"}
