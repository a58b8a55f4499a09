"""The encoder that a run keeps: trained weights mixed with those it started from."""

import dataclasses
from pathlib import Path

import torch
from safetensors.torch import load_file

from trainer.backbone import load_backbone
from trainer.blend import blend
from trainer.changes import with_changes
from trainer.encoder import Encoder
from trainer.run import train
from trainer.settings import FanclConfig

from ..tiny_run import Quiet, request_for, tiny_config


def encoder(seed: int) -> Encoder:
    torch.manual_seed(seed)
    loaded = load_backbone("small-cnn", "none", 32, 48)
    made = Encoder(loaded.spec, loaded.module)
    made.neck.running_mean.normal_()
    made.neck.num_batches_tracked.fill_(seed)
    return made


def test_weights_and_statistics_are_mixed_and_counters_stay() -> None:
    trained, start = encoder(1), encoder(2)
    mixed = blend(trained, start, 0.25).state_dict()
    for name, value in trained.state_dict().items():
        other = start.state_dict()[name]
        expected = 0.75 * value + 0.25 * other if value.is_floating_point() else value
        torch.testing.assert_close(mixed[name], expected)
    assert torch.equal(trained.neck.running_mean, encoder(1).neck.running_mean)


def test_a_run_keeps_its_share_of_the_start(world: Path, tmp_path: Path) -> None:
    def configure(num_crops: int, use_bursts: bool, random_start: bool) -> FanclConfig:
        config = tiny_config(num_crops, use_bursts, random_start)
        return with_changes(config, ["kept.start_share=0.5"])

    out = tmp_path / "run"
    train(dataclasses.replace(request_for(world, out), configure=configure), Quiet())
    start, kept = (
        load_file(str(out / "start.safetensors")),
        load_file(str(out / "encoder.safetensors")),
    )
    state = load_file(str(out / "state.safetensors"))
    for name, value in kept.items():
        trained = state[f"model.clean.{name}"]
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.5 * trained + 0.5 * start[name])
    weight = "backbone.conv1.weight"
    assert not torch.equal(kept[weight], state[f"model.clean.{weight}"])
