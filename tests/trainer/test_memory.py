"""Equations 4, 7, 8 and 9 on numbers small enough to check by hand."""

import math

import pytest
import torch

from trainer.encoder import unit
from trainer.losses import cluster_loss, to_cluster, to_instance
from trainer.memory import ClusterMemory
from trainer.settings import MemorySettings

PAPER = MemorySettings(keep=0.1, update="instance")


def test_a_memory_row_is_the_unit_mean_of_its_cluster() -> None:
    emb = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    memory = ClusterMemory(emb, torch.tensor([0, 0, 1]), PAPER)
    expected = torch.tensor([[math.sqrt(0.5), math.sqrt(0.5)], [0.0, -1.0]])
    torch.testing.assert_close(memory.centres_MD, expected)


def test_an_update_keeps_a_tenth_of_the_old_centre() -> None:
    memory = ClusterMemory(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), PAPER)
    memory.update(torch.tensor([[0.0, 1.0]]), torch.tensor([0]))
    torch.testing.assert_close(
        memory.centres_MD[0], torch.tensor([0.1104, 0.9939]), atol=1e-4, rtol=0
    )


def test_updates_follow_each_other_in_the_order_of_the_batch() -> None:
    memory = ClusterMemory(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), PAPER)
    memory.update(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 0]))
    assert memory.centres_MD[0, 0] > 0.9


def test_the_cluster_loss_is_a_cross_entropy_over_cosines() -> None:
    memory = ClusterMemory(torch.eye(2), torch.tensor([0, 1]), PAPER)
    loss = cluster_loss(torch.tensor([[1.0, 0.0]]), memory, torch.tensor([0]), temperature=0.05)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1 / 0.05)), abs=1e-7)


def test_with_one_cluster_the_cluster_loss_is_nothing() -> None:
    memory = ClusterMemory(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), PAPER)
    assert cluster_loss(torch.tensor([[0.6, 0.8]]), memory, torch.tensor([0]), 0.05).item() == 0.0


def test_consistency_is_minus_two_when_all_agree() -> None:
    emb = torch.tensor([[0.6, 0.8]])
    label = torch.tensor([0])
    memory = ClusterMemory(emb, label, PAPER)
    for query, expected in ((emb, -2.0), (-emb, 2.0)):
        both = to_cluster(query, memory, label) + to_instance(query, emb)
        assert both.item() == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_all_at_once_equals_one_after_another(seed: int) -> None:
    """The slow version: eq. 9 in a loop over the batch."""
    generator = torch.Generator().manual_seed(seed)
    emb = unit(torch.randn(30, 5, generator=generator, dtype=torch.float64))
    label = torch.randint(0, 4, (30,), generator=generator)
    label[:4] = torch.arange(4)
    memory = ClusterMemory(emb, label, PAPER)
    slow = memory.centres_MD.clone()
    query = unit(torch.randn(12, 5, generator=generator, dtype=torch.float64))
    which = torch.randint(0, 4, (12,), generator=generator)
    for row, cluster in zip(query, which.tolist(), strict=True):
        mixed = 0.1 * slow[cluster] + 0.9 * row
        slow[cluster] = mixed / mixed.norm()
    memory.update(query, which)
    torch.testing.assert_close(memory.centres_MD, slow, atol=1e-12, rtol=0)


def test_a_hard_update_takes_the_least_similar_of_each_cluster() -> None:
    emb = torch.eye(3)
    memory = ClusterMemory(emb, torch.arange(3), MemorySettings(keep=0.0, update="hard"))
    query = unit(torch.tensor([[1.0, 0.5, 0.0], [0.2, 1.0, 0.0], [0.0, 1.0, 0.0]]))
    memory.update(query, torch.tensor([0, 0, 1]))
    torch.testing.assert_close(memory.centres_MD, torch.stack([query[1], query[2], emb[2]]))


def test_a_mean_update_takes_the_mean_of_each_cluster() -> None:
    memory = ClusterMemory(
        torch.eye(2), torch.arange(2), MemorySettings(keep=0.0, update="batch-mean")
    )
    memory.update(torch.eye(2), torch.tensor([0, 0]))
    half = math.sqrt(0.5)
    torch.testing.assert_close(memory.centres_MD, torch.tensor([[half, half], [0.0, 1.0]]))
