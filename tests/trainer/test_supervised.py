"""The supervised reference: its losses, and a run with labels."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path

import pytest
import torch

from edge.errors import InputError
from trainer import supervised
from trainer.encoder import unit
from trainer.run import RunRequest, train
from trainer.triplet import batch_hard, unit_distances

from ..tiny_run import Quiet, request_for


def test_the_triplet_loss_is_the_hardest_of_each_row() -> None:
    torch.manual_seed(0)
    emb = unit(torch.randn(7, 3, dtype=torch.float64))
    label = torch.tensor([0, 0, 0, 1, 1, 2, 1])
    slow = []
    for i in range(7):
        fellows = [j for j in range(7) if j != i and label[j] == label[i]]
        strangers = [j for j in range(7) if label[j] != label[i]]
        if not fellows:  # the only picture of its animal
            slow.append(0.0)
            continue
        far = max(float((emb[i] - emb[j]).norm()) for j in fellows)
        near = min(float((emb[i] - emb[j]).norm()) for j in strangers)
        slow.append(max(far - near + 0.3, 0.0))
    found = batch_hard(unit_distances(emb), label, 0.3)
    assert found.item() == pytest.approx(sum(slow) / 7, abs=1e-6)


def test_triplets_are_satisfied_where_classes_lie_apart() -> None:
    emb = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert batch_hard(unit_distances(emb), torch.tensor([0, 0, 1, 1]), 0.3).item() == 0.0


def test_equal_pictures_give_a_gradient_that_is_a_number() -> None:
    emb = torch.tensor([[1.0, 0.0]] * 4).requires_grad_(True)
    batch_hard(unit_distances(emb), torch.tensor([0, 0, 1, 1]), 0.3).backward()
    assert torch.isfinite(emb.grad).all()


def supervised_request(world: Path, out: Path, table: Path) -> RunRequest:
    def configure(
        num_crops: int, use_bursts: bool, random_start: bool
    ) -> supervised.SupervisedConfig:
        config = supervised.default_config(1, num_crops)
        schedule = dataclasses.replace(config.schedule, epochs=2, iterations=4)
        return dataclasses.replace(config, schedule=schedule)

    request = request_for(world, out)
    return dataclasses.replace(
        request, data=table, boxes=None, configure=configure, bursts="off", score=True
    )


def test_the_angular_margin_makes_the_own_angle_larger() -> None:
    torch.manual_seed(1)
    cosine = torch.linspace(-0.999, 0.999, 40, dtype=torch.float64).repeat(3, 1).T.contiguous()
    label = torch.arange(40) % 3
    found = supervised.with_angular_margin(cosine, label, 0.5)
    for row, own in enumerate(label.tolist()):
        for column in range(3):
            angle = math.acos(cosine[row, column])
            expected = float(cosine[row, column])
            if column == own and angle + 0.5 <= math.pi:
                expected = math.cos(angle + 0.5)
            elif column == own:
                expected -= 0.5 * math.sin(0.5)
            assert found[row, column].item() == pytest.approx(expected, abs=1e-6)
    own = found.gather(1, label[:, None])[:, 0]
    assert (own.diff() > 0).all()  # a smaller angle always scores higher


def test_a_supervised_run_learns_labels_is_scored_and_goes_on(
    world: Path, labelled: Path, tmp_path: Path
) -> None:
    request = supervised_request(world, tmp_path / "run", labelled)
    told = Quiet()
    train(request, told)
    assert any("identities are labels" in sentence for sentence in told.sentences)
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(0.0 < float(row["mAP"]) <= 1.0 and row["ari"] == "" for row in rows)
    assert float(rows[1]["identity_loss"]) < float(rows[0]["identity_loss"])
    again = Quiet()
    train(request, again)
    assert any("is finished" in sentence for sentence in again.sentences)


def test_pictures_without_identity_cannot_be_labels(
    world: Path, labelled: Path, tmp_path: Path
) -> None:
    text = labelled.read_text().splitlines()
    path, _, split = text[1].split(",")
    labelled.write_text("\n".join([text[0], f"{path},,{split}", *text[2:]]) + "\n")
    with pytest.raises(InputError, match="supervised needs an identity for every picture"):
        train(supervised_request(world, tmp_path / "run", labelled), Quiet())
    assert not (tmp_path / "run").exists()
