"""The last layer of a kept encoder: what differs within clusters counts for little."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from export.graph import to_onnx
from trainer.changes import with_changes
from trainer.checkpoint import load_encoder
from trainer.encoder import embed
from trainer.run import train
from trainer.settings import FanclConfig
from trainer.whitening import within_cluster_whitening

from ..tiny_run import Quiet, request_for, tiny_config

CPU = torch.device("cpu")


def test_scatter_within_clusters_becomes_even() -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((5, 4))
    noise = rng.standard_normal((500, 4)) * (3.0, 1.0, 0.3, 0.1)
    labels = np.arange(500) % 5
    emb = (centres[labels] + noise).astype(np.float32)
    layer = within_cluster_whitening(emb, labels, shrinkage=1e-6)
    whitened = layer(torch.from_numpy(emb)).numpy()
    apart = whitened - np.stack([whitened[labels == label].mean(axis=0) for label in labels])
    scatter = apart.T @ apart / len(apart)
    np.testing.assert_allclose(scatter, scatter[0, 0] * np.eye(4), atol=1e-3 * scatter[0, 0])
    np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-4)


def test_full_shrinkage_only_centres() -> None:
    emb = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
    layer = within_cluster_whitening(emb, np.arange(20) % 4, shrinkage=1.0)
    torch.testing.assert_close(layer.weight, torch.eye(3), atol=1e-6, rtol=0)
    np.testing.assert_allclose(layer.bias.numpy(), -emb.mean(axis=0), atol=1e-6)


def test_outliers_and_clusters_of_one_say_nothing_of_scatter() -> None:
    rng = np.random.default_rng(1)
    emb = rng.standard_normal((30, 3)).astype(np.float32)
    labels = np.arange(30) % 5
    expected = within_cluster_whitening(emb, labels, 0.5)
    with_more = np.concatenate([emb, 100 * rng.standard_normal((2, 3)).astype(np.float32)])
    found = within_cluster_whitening(with_more, np.append(labels, [-1, -1]), 0.5)
    torch.testing.assert_close(found.weight, expected.weight)
    alone = np.append(labels, [5, 6])
    torch.testing.assert_close(
        within_cluster_whitening(with_more, alone, 0.5).weight, expected.weight
    )


@pytest.mark.parametrize("labels", [[-1, -1, -1], [0, 1, 2]])
def test_without_pairs_there_is_nothing_to_whiten(labels: list[int]) -> None:
    layer = within_cluster_whitening(np.eye(3, dtype=np.float32), np.array(labels), 0.5)
    torch.testing.assert_close(layer.weight, torch.eye(3))


def test_a_whitened_run_is_stored_evaluated_and_exported_whole(world: Path, tmp_path: Path) -> None:
    def configure(num_crops: int, use_bursts: bool, random_start: bool) -> FanclConfig:
        config = tiny_config(num_crops, use_bursts, random_start)
        return with_changes(config, ["kept.whitening=0.5", "kept.start_share=0.3"])

    import onnxruntime

    out = tmp_path / "run"
    train(dataclasses.replace(request_for(world, out), configure=configure), Quiet())
    with safe_open(str(out / "encoder.safetensors"), "pt") as file:
        assert "whitening.weight" in file.keys()
    stored = load_encoder(out)
    crops = np.random.default_rng(0).integers(0, 255, (5, 32, 48, 3), dtype=np.uint8)
    expected = embed(stored.encoder, crops, CPU)
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1, atol=1e-5)
    graph = to_onnx(stored.encoder, stored.facts.input).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": crops})
    np.testing.assert_allclose(found, expected, atol=1e-5)
    stored.encoder.whitening = None
    assert np.abs(embed(stored.encoder, crops, CPU) - expected).max() > 0.01
