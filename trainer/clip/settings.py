"""All settings of IndivAID and its relatives: one frozen tree, each with meaning and source.

The sources: "code" is IndivAID's released program, "base" is CLIP-ReID's, "ours" is a choice of
this project where both are silent, or where the program does not do what the paper says.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, NamedTuple

from edge.errors import InputError
from trainer.clip.losses import Stage1Loss
from trainer.clip.merging import MergeKind
from trainer.settings import setting

ClipMethod = Literal["indivaid", "clip-reid", "clip-finetune"]


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    epochs: int = setting("of both stages together; follows from theirs", "ours")


@dataclass(frozen=True, kw_only=True)
class PromptSettings:
    template: str = setting(
        "the sentence; {tokens} are the learnt words, {noun} what the animals are", "code"
    )
    noun: str = setting("what the animals are", "code: one a data set")
    tokens: int = setting("learnt words an identity", "code: 4")
    conditioned: bool = setting(
        "each picture shifts the words of its identity (IndivAID), or not (CLIP-ReID)", "code: on"
    )


@dataclass(frozen=True, kw_only=True)
class Stage1Settings:
    loss: Stage1Loss = setting(
        "what descriptions are fitted by: contrast over a batch; 1 - cos of each pair; or, for "
        "comparison, exp(cos) as the released program has it, with the sign that drives apart",
        "base: supcon; code: released; align is ours",
    )
    temperature: float = setting("of supcon, on raw dot products", "base: 1")
    epochs: int = setting("of stage 1; none in clip-finetune", "base: 120; code: 10 to 40")
    batch: int = setting("pictures a step", "base: 64; code: 1")
    learning_rate: float = setting("of Adam", "base: 3.5e-4; code: 5.5e-4")
    warm_up_rate: float = setting("where the warm-up begins", "base and code: 1e-5")
    warm_up_epochs: int = setting("of a linear warm-up", "base and code: 5")
    min_rate: float = setting("at the last epoch", "base and code: 1e-6")
    weight_decay: float = setting("of Adam", "base and code: 1e-4")


@dataclass(frozen=True, kw_only=True)
class MergeSettings:
    kind: MergeKind = setting(
        "how an identity's descriptions become one text",
        "code: mean; attention after the paper's abstract, its form is ours",
    )
    temperature: float = setting("of attention over cosines; inf: the mean", "ours")


@dataclass(frozen=True, kw_only=True)
class Stage2Settings:
    epochs: int = setting("of stage 2", "base: 60; code: 15 to 80")
    identities: int = setting("P of a batch of P x K", "base: 16")
    images: int = setting("K", "base and code: 4")
    learning_rate: float = setting("of Adam", "base: 5e-6; code: 5e-6 to 8e-6")
    bias_factor: float = setting("by which biases learn faster", "base and code: 2")
    weight_decay: float = setting("of Adam", "base and code: 1e-4")
    warm_up_epochs: int = setting("of a linear warm-up", "base and code: 10")
    warm_up_factor: float = setting("of the rate where it begins", "base and code: 0.1")
    first_decay: int = setting("epoch from which the rate is a tenth", "base and code: 30")
    second_decay: int = setting("epoch from which it is a hundredth", "base and code: 50")
    identity_weight: float = setting("of both classifiers' cross-entropy", "base and code: 0.25")
    triplet_weight: float = setting("of the triplet loss on three features", "base and code: 1")
    text_weight: float = setting("of picture-to-text cross-entropy", "base and code: 1")
    smoothing: float = setting("of labels in every cross-entropy", "base and code: 0.1")
    margin: float = setting("of the triplet loss", "base and code: 0.3")
    flip: bool = setting("half of the pictures are mirrored", "base and code: on")
    erasing: bool = setting(
        "half of the pictures lose a rectangle of 2 to 33 % to noise", "base and code: on"
    )


@dataclass(frozen=True, kw_only=True)
class IndivaidConfig:
    method: ClipMethod
    seed: int
    schedule: PlanSettings
    prompt: PromptSettings
    stage1: Stage1Settings
    merge: MergeSettings
    stage2: Stage2Settings


class _Preset(NamedTuple):
    """What the released program sets for one of its data sets: ViT-B/16, stage 1 by pictures."""

    stage1_rate: float
    stage1_start: float
    stage1_epochs: int
    batch: int
    stage2_rate: float
    stage2_epochs: int


_CLIP_REID, _CLIP_REID_RN50 = "clip-reid", "clip-reid-rn50"
_PRESETS = {
    "atrw": _Preset(4.5e-4, 1e-4, 10, 32, 5e-6, 55),
    "friesiancattle2017": _Preset(5.5e-4, 1e-5, 40, 32, 8e-6, 60),
    "ipanda50": _Preset(5.5e-4, 1e-5, 40, 64, 8e-6, 80),
    "lion": _Preset(5.5e-4, 1e-5, 40, 32, 8e-6, 60),
    "mpdd": _Preset(5.5e-4, 1e-5, 40, 32, 8e-6, 30),
    "nyala": _Preset(5.5e-4, 1e-5, 40, 64, 8e-6, 80),
    "polarbear": _Preset(5.5e-4, 1e-5, 10, 32, 8e-5, 15),
    "seastar": _Preset(5.0e-5, 1e-5, 25, 64, 5e-6, 65),
    "stoat": _Preset(5.5e-4, 1e-5, 40, 16, 8e-6, 50),
}
PRESETS = (_CLIP_REID, _CLIP_REID_RN50, *_PRESETS)


def clip_config(method: ClipMethod, preset: str, noun: str, seed: int) -> IndivaidConfig:
    """The settings of a run before the user's own changes.

    Raises InputError for a preset that is not known.
    """
    config = _base(method, noun, seed)
    if preset == _CLIP_REID:
        return planned(config)
    if preset == _CLIP_REID_RN50:
        return planned(_for_resnet(config))
    if preset not in _PRESETS:
        raise InputError(f"no preset is named '{preset}'; there are {', '.join(PRESETS)}")
    return planned(_with_preset(config, _PRESETS[preset]))


def planned(config: IndivaidConfig) -> IndivaidConfig:
    """With the number of epochs that follows from both stages."""
    total = config.stage1.epochs + config.stage2.epochs
    return dataclasses.replace(config, schedule=PlanSettings(epochs=total))


def _base(method: ClipMethod, noun: str, seed: int) -> IndivaidConfig:
    """CLIP-ReID's settings for ViT-B/16, and what tells the methods apart."""
    no_text = method == "clip-finetune"
    return IndivaidConfig(
        method=method,
        seed=seed,
        schedule=PlanSettings(epochs=0),
        prompt=PromptSettings(
            template="A photo of a {tokens} {noun}.",
            noun=noun,
            tokens=4,
            conditioned=method == "indivaid",
        ),
        stage1=Stage1Settings(
            loss="supcon",
            temperature=1.0,
            epochs=0 if no_text else 120,
            batch=64,
            learning_rate=3.5e-4,
            warm_up_rate=1e-5,
            warm_up_epochs=5,
            min_rate=1e-6,
            weight_decay=1e-4,
        ),
        merge=MergeSettings(kind="attention" if method == "indivaid" else "mean", temperature=0.1),
        stage2=Stage2Settings(
            epochs=60,
            identities=16,
            images=4,
            learning_rate=5e-6,
            bias_factor=2.0,
            weight_decay=1e-4,
            warm_up_epochs=10,
            warm_up_factor=0.1,
            first_decay=30,
            second_decay=50,
            identity_weight=1.0 if no_text else 0.25,
            triplet_weight=1.0,
            text_weight=0.0 if no_text else 1.0,
            smoothing=0.1,
            margin=0.3,
            flip=True,
            erasing=True,
        ),
    )


def _for_resnet(config: IndivaidConfig) -> IndivaidConfig:
    return dataclasses.replace(
        config,
        stage1=dataclasses.replace(config.stage1, epochs=min(config.stage1.epochs, 60)),
        stage2=dataclasses.replace(
            config.stage2,
            epochs=120,
            learning_rate=3.5e-4,
            weight_decay=5e-4,
            warm_up_factor=0.01,
            first_decay=40,
            second_decay=70,
            identity_weight=1.0,
        ),
    )


def _with_preset(config: IndivaidConfig, preset: _Preset) -> IndivaidConfig:
    """Its rates belong to single pictures in stage 1, and so to a loss that needs no others."""
    return dataclasses.replace(
        config,
        stage1=dataclasses.replace(
            config.stage1,
            loss="align",
            batch=1,
            epochs=preset.stage1_epochs if config.stage1.epochs else 0,
            learning_rate=preset.stage1_rate,
            warm_up_rate=preset.stage1_start,
        ),
        stage2=dataclasses.replace(
            config.stage2,
            epochs=preset.stage2_epochs,
            identities=preset.batch // config.stage2.images,
            learning_rate=preset.stage2_rate,
        ),
    )


def check(config: IndivaidConfig) -> None:
    """Raises InputError for values that cannot work, or that contradict each other."""
    stage1, stage2 = config.stage1, config.stage2
    learns_text = config.method != "clip-finetune"
    problems = [
        (config.prompt.tokens < 1, "prompt.tokens must be 1 or more"),
        (stage1.epochs < (1 if learns_text else 0), "stage1.epochs must be 1 or more"),
        (
            not learns_text and stage1.epochs > 0,
            "clip-finetune has no descriptions: leave stage1.epochs 0, or take --method clip-reid",
        ),
        (
            not learns_text and stage2.text_weight > 0,
            "clip-finetune has no descriptions: leave stage2.text_weight 0",
        ),
        (stage1.batch < 1, "stage1.batch must be 1 or more"),
        (
            stage1.loss == "supcon" and stage1.batch < 2 and learns_text,
            "stage1.loss=supcon contrasts the pictures of a batch: it needs stage1.batch of 2 or "
            "more, or stage1.loss=align",
        ),
        (stage1.loss == "released" and stage1.batch != 1, "stage1.loss=released needs "
         "stage1.batch=1, as the released program has it"),
        (stage1.temperature <= 0, "stage1.temperature must be above 0"),
        (config.merge.temperature <= 0, "merge.temperature must be above 0"),
        (stage2.epochs < 1, "stage2.epochs must be 1 or more"),
        (stage2.identities < 2, "stage2.identities must be 2 or more"),
        (stage2.images < 1, "stage2.images must be 1 or more"),
        (stage2.warm_up_epochs < 1, "stage2.warm_up_epochs must be 1 or more"),
        (stage1.warm_up_epochs < 1, "stage1.warm_up_epochs must be 1 or more"),
        (not 0 <= stage2.smoothing < 1, "stage2.smoothing must be 0 or more and below 1"),
        (
            stage1.learning_rate <= 0 or stage2.learning_rate <= 0,
            "stage1.learning_rate and stage2.learning_rate must be above 0",
        ),
    ]  # fmt: skip
    for wrong, sentence in problems:
        if wrong:
            raise InputError(sentence)
