"""A run directory without a training: crops, clusters and epochs as a test wants them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edge.pictures import Picture
from edge.preprocess import InputSpec
from trainer import checkpoint, recipes
from trainer.backbone import NO_WEIGHTS, SMALL_CNN, load_backbone
from trainer.checkpoint import EncoderFacts, StoredEncoder
from trainer.clip.settings import IndivaidConfig
from trainer.clip.stages import ClipReport
from trainer.data import CropFact, Crops
from trainer.encoder import Encoder
from trainer.evaluation.retrieved import Retrieved
from trainer.fancl import EpochReport
from trainer.rundir import cell, open_run, record_of, write_clusters
from trainer.settings import FanclConfig, Method
from trainer.supervised import SupervisedConfig, SupervisedReport

HEIGHT, WIDTH = 32, 48


def drawn_images(num: int, seed: int = 0) -> NDArray[np.uint8]:
    """Soft blobs of colour with some noise: nothing compresses to nothing."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 200, (num, 4, 6, 3), dtype=np.uint8)
    soft = coarse.repeat(HEIGHT // 4, axis=1).repeat(WIDTH // 6, axis=2)
    return soft + rng.integers(0, 55, soft.shape, dtype=np.uint8)


def drawn_crops(names: Sequence[str]) -> Crops:
    facts = tuple(
        CropFact(
            picture=Picture(
                path=Path(name),
                name=name,
                identity=None,
                box=None,
                captured_at=None,
                encounter=None,
                flank="unknown",
                split=None,
            ),
            box=None,
            sha256=f"{number:064x}",
            captured_at=None,
        )
        for number, name in enumerate(names)
    )
    return Crops(
        images_NHWC=drawn_images(len(names)),
        facts=facts,
        skipped=(),
        num_without_animal=0,
        num_unfit=0,
    )


def numbered_crops(num: int) -> Crops:
    return drawn_crops([f"camera/{number:05d}.jpg" for number in range(num)])


def epoch_row(epoch: int, label_N: NDArray[np.int64], skipped: bool = False) -> EpochReport:
    sizes = np.bincount(label_N[label_N >= 0])
    return EpochReport(
        epoch=epoch,
        seconds=1.5,
        clustering_seconds=0.5,
        learning_rate=3.5e-4,
        loss=None if skipped else 3.0 / epoch,
        cluster_loss=None if skipped else 4.0 / epoch,
        consistency_loss=None if skipped else -1.0 / epoch,
        num_clusters=len(sizes),
        num_outliers=int((label_N < 0).sum()),
        largest_share=float(sizes.max(initial=0) / len(label_N)),
        eps=0.5,
        agreement=None,
        silhouette=None,
    )


def config_of(method: Method, num_crops: int, num_epochs: int) -> FanclConfig:
    base = recipes.paper(method, 1, num_crops)
    schedule = dataclasses.replace(base.schedule, epochs=max(num_epochs, 1))
    return dataclasses.replace(base, schedule=schedule)


def write_run(
    out: Path,
    crops: Crops,
    label_N: NDArray[np.int64] | None,
    epochs: Sequence[EpochReport] | Sequence[SupervisedReport] | Sequence[ClipReport],
    config: FanclConfig | SupervisedConfig | IndivaidConfig,
) -> Path:
    """The run directory `out`, with an untrained encoder where some epoch was not skipped.

    `label_N` are the clusters of the last epoch; None in a supervised run.
    """
    spec = InputSpec(height=HEIGHT, width=WIDTH, resize="squash", pad_value=0)
    torch.manual_seed(0)
    loaded = load_backbone(SMALL_CNN, NO_WEIGHTS, HEIGHT, WIDTH)
    open_run(out, record_of(out, None, None, spec, loaded, crops, "auto", config), print)
    if any(one.loss is not None for one in epochs):
        facts = EncoderFacts(
            method=config.method,
            backbone=loaded.spec,
            weights=NO_WEIGHTS,
            input=spec,
            epoch=len(epochs),
            whitened=False,
        )
        encoder = Encoder(loaded.spec, loaded.module)
        stored = StoredEncoder(encoder=encoder, facts=facts)
        checkpoint.save_encoder(out / checkpoint.ENCODER, stored)
    if epochs:
        columns = [field.name for field in dataclasses.fields(epochs[0])]
        rows = [[cell(value) for value in dataclasses.astuple(one)] for one in epochs]
        checkpoint.write_rows(out / checkpoint.METRICS, columns, rows)
    if epochs and label_N is not None:
        similarity_N = np.random.default_rng(1).uniform(0.3, 1.0, len(crops)).astype(np.float32)
        similarity_N[label_N < 0] = np.nan
        write_clusters(out, crops, np.arange(len(crops)), label_N, similarity_N)
    return out


def retrieved_from(
    query_identity_Q: Sequence[str],
    gallery_identity_G: Sequence[str],
    similarity_QG: NDArray[np.float32],
) -> Retrieved:
    return Retrieved(
        query_images_QHWC=drawn_images(len(query_identity_Q), seed=2),
        gallery_images_GHWC=drawn_images(len(gallery_identity_G), seed=3),
        query_identity_Q=np.array([*query_identity_Q]),
        gallery_identity_G=np.array([*gallery_identity_G]),
        similarity_QG=similarity_QG.astype(np.float32),
    )


def many_animals(num_identities: int, seed: int = 0) -> Retrieved:
    """A query and two gallery crops an animal; embeddings that mostly, not always, agree."""
    rng = np.random.default_rng(seed)
    centre_ID = rng.standard_normal((num_identities, 16))
    names = [f"animal {number}" for number in range(num_identities)]

    def crops_of(copies: int) -> tuple[list[str], NDArray[np.float64]]:
        near_ND = centre_ID.repeat(copies, axis=0)
        near_ND = near_ND + 0.6 * rng.standard_normal(near_ND.shape)
        emb_ND = near_ND / np.linalg.norm(near_ND, axis=1, keepdims=True)
        return [name for name in names for _ in range(copies)], emb_ND

    query_names, query_QD = crops_of(1)
    gallery_names, gallery_GD = crops_of(2)
    return retrieved_from(query_names, gallery_names, query_QD @ gallery_GD.T)


FIVE_CLUSTERS = np.array([-1, -1, *np.arange(5).repeat(4)])


def plain_run(out: Path) -> Path:
    """A run of three epochs on 22 crops, without its report."""
    epochs = [epoch_row(number, FIVE_CLUSTERS) for number in (1, 2, 3)]
    return write_run(out, numbered_crops(22), FIVE_CLUSTERS, epochs, config_of("fancl", 22, 3))


#           A     A     B     C
TABLE = [
    [0.9, 0.2, 0.8, -0.1],  # A: itself first, then B
    [0.3, 0.4, 0.7, 0.60],  # A: taken for B
    [0.45, 0.1, 0.2, -np.inf],  # B: taken for A
    [0.4, 0.3, 0.2, 0.10],  # D: not in the gallery
]


def table_of_letters() -> Retrieved:
    return retrieved_from("AABD", "AABC", np.array(TABLE))
