"""The command `fancl-train`."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from edge.errors import InputError
from trainer.flags import (
    CLIP_METHODS,
    LABEL_FREE_METHODS,
    Bursts,
    Method,
    Recipe,
    Wanted,
    configuration,
    default_backbone,
    default_size,
    refuse_contradictions,
)
from trainer.terminal import Terminal, Version, console, device_named, parse_size, plain_errors

_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def train() -> None:
    _app()


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
        from trainer.clip.settings import IndivaidConfig
        from trainer.settings import FanclConfig

        for title, config in (
            ("fancl, cluster-contrast", FanclConfig),
            ("indivaid, clip-reid, clip-finetune", IndivaidConfig),
        ):
            print(f"--method {title}")
            for one in documented(config):
                print(f"  {one.key}: {one.choices}")
                print(f"      {one.about} [{one.source}]")
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
            help="fancl, or its base method cluster-contrast; both without labels. The others "
            "learn from the identity column or folder names: supervised; indivaid, which fits a "
            "CLIP model to learnt descriptions; clip-reid, with one description an animal; "
            "clip-finetune, with none."
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
        str | None,
        typer.Option(
            help="resnet50 (FANCL's, the default), small-cnn (small crops, random start), a timm "
            "name, or a CLIP model: open_clip:NAME, or open_clip:FILE.json in open_clip's own "
            "form. For indivaid and its relatives open_clip:ViT-B-16-quickgelu.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|imagenet|none",
            help="Where training starts: a safetensors file, 'imagenet' (downloaded once; the "
            "default but for small-cnn), or 'none' for random weights. For a CLIP model a file, a "
            "tag of open_clip ('openai' by default) or 'none'.",
        ),
    ] = None,
    noun: Annotated[
        str,
        typer.Option(
            help="What the animals are, for the descriptions of indivaid and clip-reid: tiger."
        ),
    ] = "",
    preset: Annotated[
        str | None,
        typer.Option(
            help="Where the settings of indivaid and its relatives start: clip-reid (the "
            "default), clip-reid-rn50, or the rates and epochs that IndivAID's program has for a "
            "data set: atrw, friesiancattle2017, ipanda50, lion, mpdd, nyala, polarbear, seastar, "
            "stoat."
        ),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A MegaDetector JSON or another file of boxes, also the crops.csv of a run: train "
            "on its animal boxes, not on whole pictures.",
        ),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|motion",
            help="Raw frames of camera traps: find the animals first, with a detector in one ONNX "
            "file with its JSON beside it (`edge-admin detector check` writes one), or by what "
            "moved at each camera (a first-level folder of DATA). Leaves crops.csv and a contact "
            "sheet, crops.html, in the run's folder.",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="HxW",
            help="Input size in pixels; 128x256 by default, for CLIP models 256x128.",
        ),
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
    arcface: Annotated[
        bool,
        typer.Option("--arcface", help="supervised with ArcFace's angular margin of 0.5."),
    ] = False,
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
            help="Any other setting of the method (not of supervised), for example "
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
    from trainer.allocator import keep_freed_memory
    from trainer.run import RunRequest
    from trainer.run import train as run_training

    wanted = Wanted(
        method=method,
        recipe=recipe,
        bursts=bursts,
        epochs=epochs,
        iterations=iterations,
        learning_rate=learning_rate,
        noun=noun,
        preset=preset,
        arcface=arcface,
        changes=changes or [],
        seed=seed,
    )
    with (
        plain_errors("the same command goes on: finished epochs, and crops found, are kept"),
        Terminal() as terminal,
    ):
        keep_freed_memory()
        refuse_contradictions(wanted)
        if boxes is not None and detector is not None:
            raise InputError(
                "--boxes and --detector both say where the animals are: give one of them"
            )
        named = backbone or default_backbone(method)
        height, width = parse_size(size or default_size(named))
        stands_alone = recipe is Recipe.paper or method not in LABEL_FREE_METHODS
        request = RunRequest(
            data=data,
            out=out,
            boxes=boxes,
            detector=detector,
            backbone=named,
            with_text=method in CLIP_METHODS,
            weights=weights,
            height=height,
            width=width,
            last_stride=2 if last_stride == 2 else 1,
            pooling=pooling.value,
            bursts=bursts.value if bursts else ("off" if stands_alone else "auto"),
            score=score,
            device=device_named(device),
            precision=precision.value,
            configure=configuration(wanted),
        )
        run_training(request, terminal)
    console.print(f"done: {out}; next: fancl-export {out} --onnx", markup=False, soft_wrap=True)
