"""Equations 4, 7, 8 and 9 on numbers small enough to check by hand."""

import math

import pytest
import torch

from trainer.memory import ClusterMemory, cluster_loss, consistency_loss


def test_a_memory_row_is_the_unit_mean_of_its_cluster() -> None:
    emb = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    memory = ClusterMemory(emb, torch.tensor([0, 0, 1]), keep=0.1)
    expected = torch.tensor([[math.sqrt(0.5), math.sqrt(0.5)], [0.0, -1.0]])
    torch.testing.assert_close(memory.centres_MD, expected)


def test_an_update_keeps_a_tenth_of_the_old_centre() -> None:
    memory = ClusterMemory(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), keep=0.1)
    memory.update(torch.tensor([[0.0, 1.0]]), torch.tensor([0]))
    torch.testing.assert_close(
        memory.centres_MD[0], torch.tensor([0.1104, 0.9939]), atol=1e-4, rtol=0
    )


def test_updates_follow_each_other_in_the_order_of_the_batch() -> None:
    memory = ClusterMemory(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), keep=0.1)
    memory.update(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 0]))
    assert memory.centres_MD[0, 0] > 0.9


def test_the_cluster_loss_is_a_cross_entropy_over_cosines() -> None:
    memory = ClusterMemory(torch.eye(2), torch.tensor([0, 1]), keep=0.1)
    loss = cluster_loss(torch.tensor([[1.0, 0.0]]), memory, torch.tensor([0]), temperature=0.05)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1 / 0.05)), abs=1e-7)


def test_with_one_cluster_the_cluster_loss_is_nothing() -> None:
    memory = ClusterMemory(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), keep=0.1)
    assert cluster_loss(torch.tensor([[0.6, 0.8]]), memory, torch.tensor([0]), 0.05).item() == 0.0


def test_consistency_is_minus_two_when_all_agree() -> None:
    emb = torch.tensor([[0.6, 0.8]])
    memory = ClusterMemory(emb, torch.tensor([0]), keep=0.1)
    assert consistency_loss(emb, emb, memory, torch.tensor([0])).item() == pytest.approx(-2.0)
    assert consistency_loss(-emb, emb, memory, torch.tensor([0])).item() == pytest.approx(2.0)
