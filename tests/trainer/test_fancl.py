"""The training step: schedule, sampler, and Cluster Contrast as FANCL's special case."""

import dataclasses

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trainer import fancl, recipes
from trainer.backbone import load_backbone
from trainer.encoder import Encoder, unit
from trainer.fana import Fana
from trainer.losses import cluster_loss, fancl_loss
from trainer.memory import ClusterMemory, build_memories
from trainer.optimiser import learning_rate
from trainer.pixels import Pixels
from trainer.sampler import sample_batches
from trainer.settings import FanclConfig, Method
from trainer.views import Networks, Views, extract

CPU = torch.device("cpu")


def config(method: Method = "fancl") -> FanclConfig:
    return recipes.paper(method, seed=1, num_crops=100)


def networks(method: Method) -> Networks:
    torch.manual_seed(0)
    loaded = load_backbone("small-cnn", "none", 32, 48)
    return Networks(Encoder(loaded.spec, loaded.module), config(method).loss)


def first_batch(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    alone = np.arange(len(labels))
    return next(sample_batches(labels, alone, config().batch, np.random.default_rng(0)))


def views_of(both: Networks, num_images: int) -> Views:
    images = np.random.default_rng(0).integers(0, 255, (num_images, 32, 48, 3), dtype=np.uint8)
    return extract(both, Fana(both.clean, config().fana, 0), Pixels(images, CPU), "fp32")


@pytest.mark.parametrize(("epoch", "rate"), [(1, 3.5e-4), (20, 3.5e-4), (21, 3.5e-5), (41, 3.5e-6)])
def test_the_papers_learning_rate_falls_every_twenty_epochs(epoch: int, rate: float) -> None:
    assert learning_rate(config().schedule, epoch) == pytest.approx(rate)


def test_a_cosine_falls_from_the_full_rate_to_almost_none() -> None:
    schedule = dataclasses.replace(
        config().schedule, epochs=10, decay_epochs=None, cosine=True, learning_rate=1.0
    )
    rates = [learning_rate(schedule, epoch) for epoch in range(1, 11)]
    assert rates[0] == 1.0
    assert rates[5] == pytest.approx(0.5)
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.03


def test_a_batch_is_p_clusters_of_k_pictures() -> None:
    labels = np.repeat(np.arange(20), 6)
    batch = next(
        sample_batches(labels, np.arange(len(labels)), config().batch, np.random.default_rng(0))
    )
    found, counts = np.unique(labels[batch], return_counts=True)
    assert (len(found), set(counts.tolist())) == (16, {4})
    assert len(set(batch.tolist())) == 64


def test_few_and_small_clusters_still_fill_a_batch() -> None:
    labels = np.array([0, 0, 1, -1])
    batch = next(
        sample_batches(labels, np.arange(len(labels)), config().batch, np.random.default_rng(0))
    )
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
    settings = config("cluster-contrast")
    views = views_of(networks("cluster-contrast"), 8)
    assert views.noised_ND is None
    assert views.fused_ND is None
    labels = np.array([0, 0, 1, 1, 2, 2, -1, -1])
    memories = build_memories(views, labels, settings.memory)
    batch = Views(clean_ND=views.clean_ND[:6], noised_ND=None, fused_ND=None)
    label_B = torch.from_numpy(labels[:6])
    found = fancl_loss(batch, memories, label_B, settings.loss)
    memory = ClusterMemory(views.clean_ND[:6], label_B, settings.memory)
    expected = cluster_loss(views.clean_ND[:6], memory, label_B, 0.05)
    assert found.total.item() == pytest.approx(expected.item(), abs=1e-6)
    assert found.consistency == 0.0


@pytest.mark.parametrize("cluster_level", [True, False])
@pytest.mark.parametrize("instance_level", [True, False])
def test_the_loss_is_three_cluster_losses_and_the_terms_of_consistency(
    cluster_level: bool, instance_level: bool
) -> None:
    settings = dataclasses.replace(
        config().loss, consistency_cluster=cluster_level, consistency_instance=instance_level
    )
    views = views_of(networks("fancl"), 4)
    labels = np.array([0, 0, 1, 1])
    memories = build_memories(views, labels, config().memory)
    label_B = torch.from_numpy(labels)
    found = fancl_loss(views, memories, label_B, settings)
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
    expected = torch.zeros(())
    if cluster_level:
        expected -= (views.clean_ND * positive).sum(1).mean()
    if instance_level:
        expected -= (views.clean_ND * views.noised_ND).sum(1).mean()
    assert found.consistency == pytest.approx(expected.item(), abs=1e-5)
    for emb in (views.clean_ND, views.noised_ND, views.fused_ND):
        torch.testing.assert_close(emb.norm(dim=1), torch.ones(4))


def test_a_detached_noised_branch_hears_nothing_of_consistency() -> None:
    label_B = torch.zeros(2, dtype=torch.int64)
    for detach, hears in ((True, False), (False, True)):
        clean = unit(torch.rand(2, 3)).requires_grad_(True)
        noised = unit(torch.rand(2, 3)).requires_grad_(True)
        views = Views(clean_ND=clean, noised_ND=noised, fused_ND=None)
        with torch.no_grad():
            memories = build_memories(views, np.zeros(2, np.int64), config().memory)
        settings = dataclasses.replace(
            config().loss, noised=False, fused=False, detach_noised=detach
        )
        fancl_loss(views, memories, label_B, settings).total.backward()
        assert clean.grad is not None
        assert (noised.grad is not None) == hears


def test_an_average_fusion_starts_as_the_mean_of_both_branches() -> None:
    settings = dataclasses.replace(config().loss, fusion_start="average")
    both = Networks(networks("fancl").clean, settings)
    first, second = unit(torch.randn(3, 256)), unit(torch.randn(3, 256))
    torch.testing.assert_close(both.fuse(first, second), unit(first + second))


def test_a_spread_batch_takes_a_picture_of_each_burst_in_turn() -> None:
    labels = np.zeros(12, np.int64)
    bursts = np.array([0] * 9 + [1, 1, 2])
    settings = dataclasses.replace(config().batch, clusters=1, images=4, spread_bursts=True)
    for seed in range(5):
        batch = next(sample_batches(labels, bursts, settings, np.random.default_rng(seed)))
        assert sorted(bursts[batch[:3]].tolist()) == [0, 1, 2]
        assert len(set(batch.tolist())) == 4


def test_frozen_statistics_stay_and_the_neck_learns_on() -> None:
    both = networks("fancl")
    both.train()
    fancl._keep_statistics(both)
    before = both.clean.backbone.bn1.running_mean.clone()
    neck_before = both.clean.neck.running_mean.clone()
    both.clean(torch.rand(4, 3, 32, 48))
    assert torch.equal(both.clean.backbone.bn1.running_mean, before)
    assert not torch.equal(both.clean.neck.running_mean, neck_before)


def test_frames_of_a_burst_share_a_pseudo_label_and_lone_bursts_are_kept() -> None:
    settings = dataclasses.replace(recipes.from_scratch("fancl", 1, 100).clustering, k1=4, k2=1)
    directions = np.eye(8, dtype=np.float32)[[0, 0, 0, 0, 1, 1, 1, 1, 2, 2]]
    rng = np.random.default_rng(0)
    emb = directions + 0.02 * rng.standard_normal(directions.shape).astype(np.float32)
    emb /= np.linalg.norm(emb, axis=1, keepdims=True)
    bursts = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    labels = fancl.pseudo_labels(emb, bursts, np.zeros((0, 2), np.int64), settings).label_N
    assert [len(set(labels[bursts == burst].tolist())) for burst in range(5)] == [1] * 5
    assert labels[0] == labels[2] != labels[4] == labels[6]
    assert labels[8] not in (-1, labels[0], labels[4])
