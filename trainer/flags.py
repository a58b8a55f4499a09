"""What the flags of `fancl-train` ask for together: the settings of a run, or a contradiction.

Loads no torch until a run's settings are made, so that `--help` comes at once.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING

from edge.errors import InputError

if TYPE_CHECKING:
    from trainer.clip.settings import ClipMethod, IndivaidConfig
    from trainer.run import Configure
    from trainer.settings import FanclConfig, ScheduleSettings
    from trainer.settings import Method as LabelFree
    from trainer.supervised import SupervisedConfig


class Method(str, enum.Enum):
    fancl = "fancl"
    cluster_contrast = "cluster-contrast"
    supervised = "supervised"
    indivaid = "indivaid"
    clip_reid = "clip-reid"
    clip_finetune = "clip-finetune"


LABEL_FREE_METHODS: dict[Method, LabelFree] = {
    Method.fancl: "fancl",
    Method.cluster_contrast: "cluster-contrast",
}
CLIP_METHODS: dict[Method, ClipMethod] = {
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


_CLIP = "open_clip:ViT-B-16-quickgelu"


def default_backbone(method: Method) -> str:
    return _CLIP if method in CLIP_METHODS else "resnet50"


def default_size(backbone: str) -> str:
    if backbone.startswith("open_clip:"):
        return "256x128"
    return "64x96" if backbone == "small-cnn" else "128x256"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
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


def configuration(wanted: Wanted) -> Configure:
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
        if wanted.method in CLIP_METHODS:
            of_clip = clip_config(
                CLIP_METHODS[wanted.method], wanted.preset or "clip-reid", wanted.noun, wanted.seed
            )
            return planned(with_changes(of_clip, wanted.changes))
        config = recipes.choose(
            wanted.recipe.value,
            LABEL_FREE_METHODS[wanted.method],
            wanted.seed,
            num_crops,
            use_bursts,
            random_start,
        )
        config = dataclasses.replace(config, schedule=scheduled(config.schedule))
        return with_changes(config, wanted.changes)

    return configure


def refuse_contradictions(wanted: Wanted) -> None:
    """Raises InputError for flags that would do nothing together."""
    of_clip, label_free = wanted.method in CLIP_METHODS, wanted.method in LABEL_FREE_METHODS
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
