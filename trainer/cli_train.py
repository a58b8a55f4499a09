"""The command `fancl-train`."""

from __future__ import annotations

import dataclasses
import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge.errors import InputError
from trainer.terminal import Terminal, Version, console, device_named, parse_size, plain_errors

if TYPE_CHECKING:  # so that --help and --version need no torch
    from trainer.settings import FanclConfig, ScheduleSettings
    from trainer.supervised import SupervisedConfig

_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def train() -> None:
    _app()


class Method(str, enum.Enum):
    fancl = "fancl"
    cluster_contrast = "cluster-contrast"
    supervised = "supervised"


class Recipe(str, enum.Enum):
    auto = "auto"
    paper = "paper"


class Bursts(str, enum.Enum):
    auto = "auto"
    column = "column"
    off = "off"


class Pooling(str, enum.Enum):
    average = "average"
    gem = "gem"


class Precision(str, enum.Enum):
    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


def _show_settings(wanted: bool) -> None:
    if wanted:
        from trainer.changes import documented

        for one in documented():
            print(f"{one.key}: {one.choices}")
            print(f"    {one.about} [{one.source}]")
        raise typer.Exit()


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
        Method,
        typer.Option(
            help="fancl, or its base method cluster-contrast; both without labels. supervised "
            "learns from the identity column or folder names."
        ),
    ] = Method.fancl,
    recipe: Annotated[
        Recipe,
        typer.Option(
            help="Where settings start. paper: the published ones (60 epochs; for "
            "cluster-contrast its own program's), bursts off. auto: what paid off on small "
            "collections, by whether bursts are known and weights pretrained."
        ),
    ] = Recipe.auto,
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
    last_stride: Annotated[
        int,
        typer.Option(
            min=1, max=2, help="Of resnet50's last stage: 1 (twice the map, the base code's) or 2."
        ),
    ] = 1,
    pooling: Annotated[
        Pooling, typer.Option(help="Of resnet50: average (FANCL's) or gem (Cluster Contrast's).")
    ] = Pooling.average,
    bursts: Annotated[
        Bursts | None,
        typer.Option(
            help="Frames of one burst show the same animal. auto: bursts are the values of the "
            "encounter column, else pictures of one folder within ten seconds by EXIF; column: "
            "the column alone, an error without; off: pictures stand alone. With --recipe paper "
            "off, else auto."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="By default the recipe's.")] = None,
    iterations: Annotated[
        int | None, typer.Option(min=1, help="Steps an epoch; by default the recipe's.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=1e-8, help="Of Adam; by default the recipe's.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any other setting of the label-free methods, for example "
            "--set clustering.eps=0.5; may be given more than once.",
        ),
    ] = None,
    settings: Annotated[
        bool,
        typer.Option(
            "--settings",
            callback=_show_settings,
            is_eager=True,
            help="List what --set knows, each with its meaning and its source, and leave.",
        ),
    ] = False,
    score: Annotated[
        bool,
        typer.Option(
            "--score",
            help="Also write mAP, rank-1 and the pseudo-labels' ARI of every epoch to "
            "metrics.csv, from the labels of DATA and its query and gallery rows. They are "
            "looked at, never used.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same machine: same run.")] = 1,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, cuda:1 ...; by default a GPU if there is one.")
    ] = "auto",
    precision: Annotated[
        Precision, typer.Option(help="Arithmetic of the backbone; auto measures which is faster.")
    ] = Precision.auto,
    version: Version = False,
) -> None:
    """Train a re-identification encoder, from photos without labels or (supervised) with them.

    Leaves a run directory: config.json, metrics.csv (a row an epoch), clusters.csv (who may be
    whom), encoder.safetensors (for fancl-eval and fancl-export), report.html (look at it first).
    """
    from trainer import recipes, supervised
    from trainer.allocator import keep_freed_memory
    from trainer.changes import with_changes
    from trainer.run import RunRequest
    from trainer.run import train as run_training

    def scheduled(schedule: ScheduleSettings) -> ScheduleSettings:
        return dataclasses.replace(
            schedule,
            epochs=epochs or schedule.epochs,
            iterations=iterations or schedule.iterations,
            learning_rate=learning_rate or schedule.learning_rate,
        )

    def configure(
        num_crops: int, use_bursts: bool, random_start: bool
    ) -> FanclConfig | SupervisedConfig:
        if method is Method.supervised:
            labelled = supervised.default_config(seed, num_crops)
            return dataclasses.replace(labelled, schedule=scheduled(labelled.schedule))
        config = recipes.choose(
            recipe.value, method.value, seed, num_crops, use_bursts, random_start
        )
        config = dataclasses.replace(config, schedule=scheduled(config.schedule))
        return with_changes(config, changes or [])

    with (
        plain_errors("the same command goes on from the last finished epoch"),
        Terminal() as terminal,
    ):
        keep_freed_memory()
        _refuse_contradictions(method, recipe, bursts, changes)
        height, width = parse_size(size or ("64x96" if backbone == "small-cnn" else "128x256"))
        in_paper = recipe is Recipe.paper or method is Method.supervised
        request = RunRequest(
            data=data,
            out=out,
            boxes=boxes,
            backbone=backbone,
            weights=weights,
            height=height,
            width=width,
            last_stride=2 if last_stride == 2 else 1,
            pooling=pooling.value,
            bursts=bursts.value if bursts else ("off" if in_paper else "auto"),
            score=score,
            device=device_named(device),
            precision=precision.value,
            configure=configure,
        )
        run_training(request, terminal)
    console.print(f"done: {out}; next: fancl-export {out} --onnx", markup=False, soft_wrap=True)


def _refuse_contradictions(
    method: Method, recipe: Recipe, bursts: Bursts | None, changes: list[str] | None
) -> None:
    """Raises InputError for flags that would do nothing together."""
    uses_bursts = bursts in (Bursts.auto, Bursts.column)
    if method is Method.supervised and (changes or uses_bursts or recipe is Recipe.paper):
        raise InputError(
            "--set, --bursts and --recipe are for the label-free methods, not for supervised"
        )
    if recipe is Recipe.paper and uses_bursts:
        raise InputError(
            "--recipe paper does not use bursts; leave --bursts out, or take --recipe auto"
        )
