"""The command `fancl-train`."""

from __future__ import annotations

import dataclasses
import enum
from pathlib import Path
from typing import Annotated

import typer

from edge.errors import InputError
from trainer.terminal import Terminal, Version, console, device_named, plain_errors

_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def train() -> None:
    _app()


class Method(str, enum.Enum):
    fancl = "fancl"
    cluster_contrast = "cluster-contrast"


class Bursts(str, enum.Enum):
    auto = "auto"
    on = "on"
    off = "off"


class Precision(str, enum.Enum):
    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


class FanaLayer(str, enum.Enum):
    conv = "conv"
    bn = "bn"


@_app.command(
    epilog="Example: fancl-train photos/ --out runs/first   Then: fancl-eval runs/first DATA, "
    "fancl-export runs/first --onnx"
)
def _train(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            readable=False,
            help="A folder of photos (sub-folders count; their names are ignored) or a "
            "metadata.csv. Where it has a split column, its train rows are used.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(help="Folder for this run. An unfinished run in it goes on where it stopped."),
    ],
    method: Annotated[
        Method, typer.Option(help="fancl, or its base method cluster-contrast.")
    ] = Method.fancl,
    backbone: Annotated[
        str,
        typer.Option(
            help="resnet50 (the paper's), small-cnn (small crops, random start) or a timm name."
        ),
    ] = "resnet50",
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|imagenet|none",
            help="Where training starts: a safetensors file, 'imagenet' (downloaded once; the "
            "default but for small-cnn), or 'none' for random weights.",
        ),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(help="MegaDetector JSON: train on its animal boxes, not on whole pictures."),
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Input size in pixels; 128x256 by default.")
    ] = None,
    bursts: Annotated[
        Bursts,
        typer.Option(
            help="Use that frames of one burst (EXIF times or the encounter column) show the same "
            "animal: warm up on bursts, cluster their means. auto: where bursts exist and the "
            "start is random. off: the paper's method."
        ),
    ] = Bursts.auto,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs; 60, with bursts 6.")] = None,
    iterations: Annotated[
        int | None,
        typer.Option(
            min=1, help="Steps an epoch; by default four passes over the crops, with bursts two."
        ),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=1e-8, help="Of Adam; 3.5e-4, with bursts 5e-4.")
    ] = None,
    clusters_per_batch: Annotated[int, typer.Option(min=2, help="P of a batch of P x K.")] = 16,
    images_per_cluster: Annotated[int, typer.Option(min=1, help="K of a batch of P x K.")] = 4,
    eps: Annotated[
        float | None, typer.Option(min=0.01, max=0.94, help="DBSCAN radius; 0.6, with bursts 0.5.")
    ] = None,
    k1: Annotated[
        int | None,
        typer.Option(min=2, help="Neighbours in the Jaccard distance; 30, with bursts 8."),
    ] = None,
    fana_area: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of pixels that FANA blackens.")
    ] = 0.10,
    fana_layer: Annotated[
        FanaLayer, typer.Option(help="Stem layer whose activation steers the noise.")
    ] = FanaLayer.conv,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same machine: same run.")] = 1,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, cuda:1 ...; by default a GPU if there is one.")
    ] = "auto",
    precision: Annotated[
        Precision, typer.Option(help="Arithmetic of the backbone; auto measures which is faster.")
    ] = Precision.auto,
    version: Version = False,
) -> None:
    """Train a re-identification encoder from photos without labels.

    Leaves a run directory: config.json, metrics.csv (a row an epoch), clusters.csv (who may be
    whom), encoder.safetensors (for fancl-eval and fancl-export).
    """
    from trainer import fancl  # here, so that --help and --version need no torch
    from trainer.clustering import ClusteringSettings
    from trainer.run import RunRequest
    from trainer.run import train as run_training

    def configure(num_crops: int, use_bursts: bool, random_start: bool) -> fancl.FanclConfig:
        name: fancl.Method = "fancl" if method is Method.fancl else "cluster-contrast"
        base = (
            fancl.from_bursts(name, seed, num_crops, random_start)
            if use_bursts
            else fancl.paper(name, seed, num_crops)
        )
        old = base.clustering
        return dataclasses.replace(
            base,
            epochs=epochs or base.epochs,
            iterations=iterations or base.iterations,
            learning_rate=learning_rate or base.learning_rate,
            clusters_per_batch=clusters_per_batch,
            images_per_cluster=images_per_cluster,
            fana_area=fana_area,
            fana_layer=fana_layer.value,
            clustering=ClusteringSettings(
                k1=k1 or old.k1,
                k2=old.k2,
                eps=eps or old.eps,
                min_samples=old.min_samples,
            ),
        )

    with (
        plain_errors("the same command goes on from the last finished epoch"),
        Terminal() as terminal,
    ):
        height, width = _parse_size(size or ("64x96" if backbone == "small-cnn" else "128x256"))
        request = RunRequest(
            data=data,
            out=out,
            boxes=boxes,
            backbone=backbone,
            weights=weights,
            height=height,
            width=width,
            bursts=bursts.value,
            device=device_named(device),
            precision=precision.value,
            configure=configure,
        )
        run_training(request, terminal)
    console.print(f"done: {out}; next: fancl-export {out} --onnx", markup=False, soft_wrap=True)


def _parse_size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) >= 16 for part in parts):
        raise InputError(f"--size {text}: write height x width in pixels, for example 128x256")
    return int(parts[0]), int(parts[1])
