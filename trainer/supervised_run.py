"""A supervised run in its directory: from the start to the last epoch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from edge.errors import InputError
from trainer import checkpoint
from trainer.data import Crops
from trainer.optimiser import new_optimiser
from trainer.pixels import Pixels
from trainer.supervised import Classifier, SupervisedConfig, SupervisedTraining, train_epochs
from trainer.workplace import Record, Told, Workplace, told_scores

_EXAMPLES = 3


def labels_of(crops: Crops, method: str) -> tuple[list[str], NDArray[np.int64]]:
    """The identities in order, and which of them each crop shows.

    Raises InputError where a crop names none, or fewer than two are named.
    """
    unnamed = next((one for one in crops.facts if one.picture.identity is None), None)
    if unnamed is not None:
        raise InputError(
            f"--method {method} needs an identity for every picture, and {unnamed.picture.name} "
            "has none: fill the identity column, or put pictures in one folder an animal. "
            "--method fancl and cluster-contrast need no labels"
        )
    named = [fact.picture.identity or "" for fact in crops.facts]
    identities = sorted(set(named))
    if len(identities) < 2:
        raise InputError(f"--method {method} needs pictures of at least two animals")
    return identities, np.searchsorted(identities, named).astype(np.int64)


def tell_labels(place: Workplace, identities: list[str]) -> None:
    examples = ", ".join(identities[:_EXAMPLES])
    place.narrator.say(f"{len(identities)} identities are labels: {examples} ...")


def run(place: Workplace, config: SupervisedConfig, label_N: NDArray[np.int64]) -> None:
    """Train to the last epoch, or go on from where the directory stands."""
    if place.is_new:
        place.prepare_start()
    torch.manual_seed(config.seed)
    networks = Classifier(place.encoder, int(label_N.max()) + 1).to(place.device)
    optimiser = new_optimiser(networks, config.schedule, place.device)
    record = Record(place, networks, optimiser)
    training = SupervisedTraining(
        networks=networks,
        optimiser=optimiser,
        pixels=Pixels(place.crops.images_NHWC, place.device),
        label_N=label_N,
        config=config,
        precision=place.precision,
        listener=Told(place.narrator, config.schedule.epochs),
    )
    for end in train_epochs(training, record.done + 1):
        place.save_encoder(checkpoint.ENCODER, place.encoder, end.report.epoch)
        scores = place.scores(place.encoder)
        record.add(end.report, end.step_losses, scores)
        place.narrator.say(
            f"epoch {end.report.epoch}/{config.schedule.epochs}: loss {end.report.loss:.3f}, "
            f"{end.report.seconds:.0f} s" + told_scores(scores)
        )
