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
    from trainer.clip.settings import ClipMethod, IndivaidConfig
    from trainer.run import Configure
    from trainer.settings import FanclConfig, ScheduleSettings
    from trainer.settings import Method as LabelFree
    from trainer.supervised import SupervisedConfig

_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def train() -> None:
    _app()


class Method(str, enum.Enum):
    fancl = "fancl"
    cluster_contrast = "cluster-contrast"
    supervised = "supervised"
    indivaid = "indivaid"
    clip_reid = "clip-reid"
    clip_finetune = "clip-finetune"


_LABEL_FREE: dict[Method, LabelFree] = {
    Method.fancl: "fancl",
    Method.cluster_contrast: "cluster-contrast",
}
_OF_CLIP: dict[Method, ClipMethod] = {
    Method.indivaid: "indivaid",
    Method.clip_reid: "clip-reid",
    Method.clip_finetune: "clip-finetune",
}


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
        typer.Option(help="MegaDetector JSON: train on its animal boxes, not on whole pictures."),
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

    wanted = _Wanted(
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
        plain_errors("the same command goes on from the last finished epoch"),
        Terminal() as terminal,
    ):
        keep_freed_memory()
        _refuse_contradictions(wanted)
        named = backbone or (_CLIP if method in _OF_CLIP else "resnet50")
        height, width = parse_size(size or _default_size(named))
        stands_alone = recipe is Recipe.paper or method not in _LABEL_FREE
        request = RunRequest(
            data=data,
            out=out,
            boxes=boxes,
            backbone=named,
            with_text=method in _OF_CLIP,
            weights=weights,
            height=height,
            width=width,
            last_stride=2 if last_stride == 2 else 1,
            pooling=pooling.value,
            bursts=bursts.value if bursts else ("off" if stands_alone else "auto"),
            score=score,
            device=device_named(device),
            precision=precision.value,
            configure=_configuration(wanted),
        )
        run_training(request, terminal)
    console.print(f"done: {out}; next: fancl-export {out} --onnx", markup=False, soft_wrap=True)


_CLIP = "open_clip:ViT-B-16-quickgelu"


def _default_size(backbone: str) -> str:
    if backbone.startswith("open_clip:"):
        return "256x128"
    return "64x96" if backbone == "small-cnn" else "128x256"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Wanted:
    """The flags that decide a run's settings."""

    method: Method
    recipe: Recipe
    bursts: Bursts | None
    epochs: int | None
    iterations: int | None
    learning_rate: float | None
    noun: str
    preset: str | None
    arcface: bool
    changes: list[str]
    seed: int

    @property
    def uses_bursts(self) -> bool:
        return self.bursts in (Bursts.auto, Bursts.column)


def _configuration(wanted: _Wanted) -> Configure:
    """Settings for the data at hand, with the user's flags applied."""
    from trainer import recipes, supervised
    from trainer.changes import with_changes
    from trainer.clip.settings import clip_config, planned

    def scheduled(schedule: ScheduleSettings) -> ScheduleSettings:
        return dataclasses.replace(
            schedule,
            epochs=wanted.epochs or schedule.epochs,
            iterations=wanted.iterations or schedule.iterations,
            learning_rate=wanted.learning_rate or schedule.learning_rate,
        )

    def configure(
        num_crops: int, use_bursts: bool, random_start: bool
    ) -> FanclConfig | SupervisedConfig | IndivaidConfig:
        if wanted.method is Method.supervised:
            labelled = supervised.default_config(wanted.seed, num_crops, wanted.arcface)
            return dataclasses.replace(labelled, schedule=scheduled(labelled.schedule))
        if wanted.method in _OF_CLIP:
            of_clip = clip_config(
                _OF_CLIP[wanted.method], wanted.preset or "clip-reid", wanted.noun, wanted.seed
            )
            return planned(with_changes(of_clip, wanted.changes))
        config = recipes.choose(
            wanted.recipe.value,
            _LABEL_FREE[wanted.method],
            wanted.seed,
            num_crops,
            use_bursts,
            random_start,
        )
        config = dataclasses.replace(config, schedule=scheduled(config.schedule))
        return with_changes(config, wanted.changes)

    return configure


def _refuse_contradictions(wanted: _Wanted) -> None:
    """Raises InputError for flags that would do nothing together."""
    of_clip, label_free = wanted.method in _OF_CLIP, wanted.method in _LABEL_FREE
    scheduled = wanted.epochs or wanted.iterations or wanted.learning_rate
    name = wanted.method.value
    problems = [
        (
            not label_free and (wanted.uses_bursts or wanted.recipe is Recipe.paper),
            f"--bursts and --recipe are for the label-free methods, not for {name}",
        ),
        (
            wanted.method is Method.supervised and bool(wanted.changes),
            "--set is for the other methods, not for supervised",
        ),
        (
            wanted.arcface and wanted.method is not Method.supervised,
            "--arcface is for supervised",
        ),
        (
            of_clip and bool(scheduled),
            f"{name} has two stages: give --set stage1.epochs=N, --set stage2.epochs=N, "
            "--set stage1.learning_rate=R and --set stage2.learning_rate=R instead of --epochs, "
            "--iterations and --learning-rate",
        ),
        (
            of_clip and wanted.method is not Method.clip_finetune and not wanted.noun.strip(),
            f"{name} describes animals in words: say what they are, for example --noun tiger",
        ),
        (
            not of_clip and bool(wanted.noun or wanted.preset),
            "--noun and --preset are for indivaid, clip-reid and clip-finetune",
        ),
        (
            wanted.recipe is Recipe.paper and wanted.uses_bursts,
            "--recipe paper does not use bursts; leave --bursts out, or take --recipe auto",
        ),
    ]
    for wrong, sentence in problems:
        if wrong:
            raise InputError(sentence)
