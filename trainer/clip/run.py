"""A run of IndivAID, CLIP-ReID or CLIP fine-tuning in its directory, from start to last epoch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip import SimpleTokenizer

from edge.errors import InputError
from trainer import checkpoint
from trainer.backbone import NO_WEIGHTS
from trainer.clip.image import ClipPair
from trainer.clip.merging import Attention
from trainer.clip.networks import Heads, Networks, new_optimiser
from trainer.clip.prompts import Generator, Prompt, prompt_of
from trainer.clip.settings import IndivaidConfig, check
from trainer.clip.stages import ClipReport, ClipTraining, train_stages
from trainer.clip.text import TextTower
from trainer.clip.towers import ImageFeatures, ImageTower, tower_in
from trainer.pixels import Pixels
from trainer.workplace import Record, Told, Workplace, told_scores


def refuse(pair: ClipPair, config: IndivaidConfig, label_N: NDArray[np.int64]) -> None:
    """Raises InputError for what can be known to fail before anything is written."""
    check(config)
    num_identities = int(label_N.max()) + 1
    if num_identities < config.stage2.identities:
        raise InputError(
            f"{num_identities} identities are fewer than a batch of stage 2 takes "
            f"({config.stage2.identities}): make batches smaller with "
            f"--set stage2.identities={num_identities}"
        )
    _prompt(pair.text, config)


def tell_start(place: Workplace, pair: ClipPair, label_N: NDArray[np.int64]) -> None:
    """Says what is at random, and which identities cannot teach much."""
    say = place.narrator.say
    if pair.image.weights == NO_WEIGHTS:
        say(f"{pair.image.spec.name} starts from RANDOM weights: no pretrained ones were given")
    elif not pair.text_weights and place.method != "clip-finetune":
        say(
            f"{pair.image.weights} holds an image tower alone: the TEXT tower is at RANDOM, so "
            "descriptions tell identities apart and know nothing of language"
        )
    single = int((np.bincount(label_N) == 1).sum())
    if single:
        say(f"{single} identities have one picture: kept, though nothing pulls it to a fellow")


def run(
    place: Workplace, pair: ClipPair, config: IndivaidConfig, label_N: NDArray[np.int64]
) -> None:
    """Train to the last epoch, or go on from where the directory stands."""
    if place.is_new:
        place.save_encoder(checkpoint.START, place.encoder, epoch=0)
    start = checkpoint.load_encoder(place.out / checkpoint.START).encoder.to(place.device)
    torch.manual_seed(config.seed)
    num_identities = int(label_N.max()) + 1
    text = pair.text.to(place.device)
    prompt = _prompt(text, config)
    networks = _networks(place, text, prompt, config, num_identities).to(place.device)
    optimiser = new_optimiser(
        networks, config.stage1.weight_decay, config.stage2.weight_decay, place.device
    )
    record = Record(place, networks, optimiser)
    training = ClipTraining(
        encoder=place.encoder,
        start=start,
        networks=networks,
        text=text,
        prompt=prompt,
        optimiser=optimiser,
        pixels=Pixels(place.crops.images_NHWC, place.device),
        label_N=label_N,
        num_identities=num_identities,
        config=config,
        precision=place.precision,
        listener=Told(place.narrator, config.schedule.epochs),
    )
    for end in train_stages(training, record.done + 1):
        if end.report.stage == 2 or end.report.epoch == 1:  # stage 1 leaves the encoder as it was
            place.save_encoder(checkpoint.ENCODER, place.encoder, end.report.epoch)
        scores = place.scores(place.encoder)
        record.add(end.report, end.step_losses, scores)
        place.narrator.say(_sentence(end.report, config.schedule.epochs) + told_scores(scores))


def _networks(
    place: Workplace,
    text: TextTower,
    prompt: Prompt | None,
    config: IndivaidConfig,
    num_identities: int,
) -> Networks:
    tower = tower_in(place.encoder)
    pooled, projected = _widths(place, tower)
    generator = attention = None
    if prompt is not None:
        generator = Generator(
            text.token_embedding,
            prompt,
            config.prompt.tokens,
            num_identities,
            projected,
            config.prompt.conditioned,
        )
        if config.merge.kind == "attention":
            attention = Attention(projected, config.merge.temperature)
    return Networks(tower, Heads(pooled, projected, num_identities), generator, attention)


@torch.no_grad()
def _widths(place: Workplace, tower: ImageTower) -> tuple[int, int]:
    tower.eval()
    picture = torch.zeros(1, 3, place.spec.height, place.spec.width, device=place.device)
    features: ImageFeatures = tower(picture)
    return features.pooled_ND.shape[1], features.projected_ND.shape[1]


def _prompt(text: TextTower, config: IndivaidConfig) -> Prompt | None:
    """None where the method has no descriptions."""
    if config.method == "clip-finetune":
        return None
    settings = config.prompt
    return prompt_of(
        SimpleTokenizer(), settings.template, settings.noun, settings.tokens, text.context
    )


def _sentence(report: ClipReport, epochs: int) -> str:
    what = f"stage {report.stage}, epoch {report.epoch}/{epochs}: loss {report.loss:.3f}"
    if report.description_top1 is not None:
        what += (
            f", descriptions at cosine {report.description_cosine:.2f}, "
            f"{report.description_top1:.0%} nearest to their own"
        )
    return f"{what}, {report.seconds:.0f} s"
