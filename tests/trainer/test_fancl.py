"""The training step: schedule, sampler, and Cluster Contrast as FANCL's special case."""

import dataclasses

import numpy as np
import pytest
import torch

from trainer import fancl
from trainer.backbone import load_backbone
from trainer.encoder import Encoder
from trainer.fana import Fana
from trainer.memory import ClusterMemory, build_memories, cluster_loss
from trainer.sampler import sample_batches
from trainer.views import Method, Networks, Views, extract

CPU = torch.device("cpu")


def networks(method: Method) -> Networks:
    torch.manual_seed(0)
    loaded = load_backbone("small-cnn", "none", 32, 48)
    return Networks(Encoder(loaded.spec, loaded.module), method)


@pytest.mark.parametrize(("epoch", "rate"), [(1, 3.5e-4), (20, 3.5e-4), (21, 3.5e-5), (41, 3.5e-6)])
def test_the_papers_learning_rate_falls_every_twenty_epochs(epoch: int, rate: float) -> None:
    assert fancl.learning_rate(fancl.paper("fancl", 1, 100), epoch) == pytest.approx(rate)


def test_a_batch_is_p_clusters_of_k_pictures() -> None:
    labels = np.repeat(np.arange(20), 6)
    batch = next(sample_batches(labels, 16, 4, np.random.default_rng(0)))
    found, counts = np.unique(labels[batch], return_counts=True)
    assert (len(found), set(counts.tolist())) == (16, {4})
    assert len(set(batch.tolist())) == 64


def test_few_and_small_clusters_still_fill_a_batch() -> None:
    labels = np.array([0, 0, 1, -1])
    batch = next(sample_batches(labels, 16, 4, np.random.default_rng(0)))
    assert len(batch) == 64
    assert set(batch.tolist()) == {0, 1, 2}


def test_both_encoders_start_alike_and_own_their_parameters() -> None:
    both = networks("fancl")
    assert both.noised is not None
    clean, noised = both.clean.state_dict(), both.noised.state_dict()
    assert all(torch.equal(clean[key], noised[key]) for key in clean)
    with torch.no_grad():
        both.clean.backbone.conv1.weight.zero_()
    assert both.noised.backbone.conv1.weight.abs().sum() > 0


def test_without_the_noised_branch_the_loss_is_cluster_contrasts() -> None:
    plain = networks("cluster-contrast")
    images = np.random.default_rng(0).integers(0, 255, (8, 32, 48, 3), dtype=np.uint8)
    views = extract(plain, Fana(plain.clean, 0.1, "conv"), images, CPU, "fp32")
    labels = np.array([0, 0, 1, 1, 2, 2, -1, -1])
    memories = build_memories(views, labels, 0.1)
    batch = Views(clean_ND=views.clean_ND[:6], noised_ND=None, fused_ND=None)
    label_B = torch.from_numpy(labels[:6])
    found = fancl.fancl_loss(batch, memories, label_B, 0.05)
    memory = ClusterMemory(views.clean_ND[:6], label_B, 0.1)
    expected = cluster_loss(views.clean_ND[:6], memory, label_B, 0.05)
    assert found.total.item() == pytest.approx(expected.item(), abs=1e-6)
    assert found.consistency == 0.0


def test_the_loss_is_the_sum_of_three_cluster_losses_and_consistency() -> None:
    both = networks("fancl")
    images = np.random.default_rng(0).integers(0, 255, (4, 32, 48, 3), dtype=np.uint8)
    views = extract(both, Fana(both.clean, 0.1, "conv"), images, CPU, "fp32")
    labels = np.array([0, 0, 1, 1])
    memories = build_memories(views, labels, 0.1)
    label_B = torch.from_numpy(labels)
    found = fancl.fancl_loss(views, memories, label_B, 0.05)
    parts = [
        cluster_loss(emb, memory, label_B, 0.05)
        for emb, memory in (
            (views.clean_ND, memories.clean),
            (views.noised_ND, memories.noised),
            (views.fused_ND, memories.fused),
        )
    ]
    assert found.cluster == pytest.approx(float(sum(parts)), abs=1e-5)
    positive = memories.noised.centres_MD[label_B]
    level = (views.clean_ND * positive).sum(1) + (views.clean_ND * views.noised_ND).sum(1)
    assert found.consistency == pytest.approx(-level.mean().item(), abs=1e-5)
    for emb in (views.clean_ND, views.noised_ND, views.fused_ND):
        torch.testing.assert_close(emb.norm(dim=1), torch.ones(4))


def test_frames_of_a_burst_share_a_pseudo_label_and_lone_bursts_are_kept() -> None:
    config = fancl.from_bursts("fancl", 1, 100, random_start=True)
    config = dataclasses.replace(
        config, clustering=dataclasses.replace(config.clustering, k1=4, k2=1)
    )
    directions = np.eye(8, dtype=np.float32)[[0, 0, 0, 0, 1, 1, 1, 1, 2, 2]]
    rng = np.random.default_rng(0)
    emb = directions + 0.02 * rng.standard_normal(directions.shape).astype(np.float32)
    emb /= np.linalg.norm(emb, axis=1, keepdims=True)
    bursts = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    labels = fancl.pseudo_labels(torch.from_numpy(emb), bursts, config).label_N
    assert [len(set(labels[bursts == burst].tolist())) for burst in range(5)] == [1] * 5
    assert labels[0] == labels[2] != labels[4] == labels[6]
    assert labels[8] not in (-1, labels[0], labels[4])
