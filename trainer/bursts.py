"""Bursts: frames a camera takes within seconds show the same animal. Beyond the FANCL paper.

From random weights plain clustering collapses. A warm-up that pulls the frames of one burst
together (and other bursts away) gives clustering something to stand on, and clustering the mean
of a burst instead of its frames keeps near-duplicates from forming clusters of their own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.augment import strong
from trainer.data import CropFact
from trainer.encoder import Encoder, Precision, autocast, to_pixels
from trainer.pixels import Pixels
from trainer.settings import WarmUpSettings

BurstUse = Literal["auto", "column", "off"]
GAP_SECONDS = 10.0  # of capture time at one camera; longer is another burst
_GREY_SPREAD = 4.0  # mean difference between colour channels, of 255; infrared frames have none
_MIN_SHARE = 0.3  # of crops that have a burst fellow, for bursts to be worth using


def find_bursts(facts: tuple[CropFact, ...], use: BurstUse = "auto") -> NDArray[np.int64]:
    """A burst number for each crop; a crop without a known burst has one of its own.

    A burst is one value of the `encounter` column, or else ("auto") the pictures of one folder
    whose capture times follow within ten seconds. Two boxes in one picture are two animals, so
    the crops of such a burst stay alone. With "off" every crop is alone.
    """
    if use == "off":
        return np.arange(len(facts))
    key_of: list[tuple[str, str, int]] = []
    timed = _number_by_time(facts) if use == "auto" else {}
    for index, fact in enumerate(facts):
        if fact.picture.encounter is not None:
            key_of.append(("encounter", fact.picture.encounter, 0))
        elif index in timed:
            key_of.append(("time", *timed[index]))
        else:
            key_of.append(("alone", "", index))
    _separate_companions(facts, key_of)
    numbers = {key: number for number, key in enumerate(dict.fromkeys(key_of))}
    return np.array([numbers[key] for key in key_of], np.int64)


def _separate_companions(facts: tuple[CropFact, ...], key_of: list[tuple[str, str, int]]) -> None:
    seen = Counter((key, fact.picture.name) for key, fact in zip(key_of, facts, strict=True))
    crowded = {key for (key, _), count in seen.items() if count > 1}
    for index, key in enumerate(key_of):
        if key in crowded:
            key_of[index] = ("alone", "", index)


def _number_by_time(facts: tuple[CropFact, ...]) -> dict[int, tuple[str, int]]:
    by_camera: dict[Path, list[tuple[datetime, int]]] = defaultdict(list)
    for index, fact in enumerate(facts):
        if fact.captured_at is not None:
            by_camera[fact.picture.path.parent].append((fact.captured_at, index))
    numbered: dict[int, tuple[str, int]] = {}
    for camera, moments in by_camera.items():
        burst, last = 0, None
        for moment, index in sorted(moments):
            if last is not None and (moment - last).total_seconds() > GAP_SECONDS:
                burst += 1
            numbered[index] = (str(camera), burst)
            last = moment
    return numbered


def worth_using(burst_N: NDArray[np.int64]) -> bool:
    """Whether enough crops have a fellow in their burst."""
    sizes = np.bincount(burst_N)
    return bool(np.mean(sizes[burst_N] > 1) >= _MIN_SHARE)


def find_scenes(
    facts: tuple[CropFact, ...], images_NHWC: NDArray[np.uint8], burst_N: NDArray[np.int64]
) -> NDArray[np.int64]:
    """A scene number for each burst: one folder under one kind of light, colour or infrared.

    Bursts of one scene share background and light, so that within it only the animal tells them
    apart; a batch that mixes scenes is largely solved by the background.
    """
    first_B = np.unique(burst_N, return_index=True)[1]
    keys = [
        (facts[row].picture.path.parent, _is_grey(images_NHWC[row])) for row in first_B.tolist()
    ]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], np.int64)


def _is_grey(image_HWC: NDArray[np.uint8]) -> bool:
    spread = image_HWC.max(axis=2).astype(np.int16) - image_HWC.min(axis=2)
    return bool(spread.mean() < _GREY_SPREAD)


def burst_means(emb_ND: NDArray[np.float32], burst_N: NDArray[np.int64]) -> NDArray[np.float32]:
    """Unit-length mean embedding of each burst, [number of bursts, D]."""
    sums = np.zeros((int(burst_N.max()) + 1, emb_ND.shape[1]), np.float32)
    np.add.at(sums, burst_N, emb_ND)
    return sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(1e-12)


def warm_up(
    encoder: Encoder,
    pixels: Pixels,
    burst_N: NDArray[np.int64],
    scene_B: NDArray[np.int64],
    settings: WarmUpSettings,
    seed: int,
    precision: Precision,
    on_step: Callable[[int, float], None],
) -> None:
    """Train the encoder to tell bursts of one scene apart; `on_step` hears (step, loss)."""
    generator = torch.Generator(pixels.device).manual_seed(seed)
    chooser = np.random.default_rng(seed)
    members = [np.flatnonzero(burst_N == burst) for burst in range(int(burst_N.max()) + 1)]
    optimiser = torch.optim.Adam(encoder.parameters(), settings.learning_rate, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps)
    encoder.train()
    for step in range(1, settings.steps + 1):
        rows, label_B = _draw(members, scene_B, settings, chooser)
        images = encoder.normalise(strong(to_pixels(pixels.rows(rows)), generator))
        with autocast(pixels.device, precision):
            emb_BD = encoder(images.contiguous(memory_format=torch.channels_last))
        loss = contrast(emb_BD, label_B.to(pixels.device), settings.temperature)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        on_step(step, float(loss.detach()))


def _draw(
    members: list[NDArray[np.int64]],
    scene_B: NDArray[np.int64],
    settings: WarmUpSettings,
    chooser: np.random.Generator,
) -> tuple[NDArray[np.int64], Tensor]:
    """K frames each of bursts of one scene; a short burst gives its frames more than once.

    The scene is that of a random burst. Where it has too few bursts, others fill the batch.
    """
    scene = scene_B[chooser.integers(len(scene_B))]
    order = chooser.permutation(len(members))
    near_first = order[np.argsort(scene_B[order] != scene, kind="stable")]
    bursts = near_first[: settings.bursts]
    each = settings.images
    rows = [_some(members[burst], each, chooser) for burst in bursts]
    return np.concatenate(rows), torch.arange(len(bursts)).repeat_interleave(each)


def _some(rows: NDArray[np.int64], count: int, chooser: np.random.Generator) -> NDArray[np.int64]:
    shuffled = chooser.permutation(rows)
    return np.resize(shuffled, count)


def contrast(emb_BD: Tensor, label_B: Tensor, temperature: float) -> Tensor:
    """InfoNCE with every other row of the same label as a positive (Khosla et al. 2020, L_out)."""
    count = len(emb_BD)
    itself = torch.eye(count, dtype=torch.bool, device=emb_BD.device)
    logits = (emb_BD @ emb_BD.T / temperature).masked_fill(itself, float("-inf"))
    log_share = nn.functional.log_softmax(logits, dim=1)
    positive = (label_B[:, None] == label_B[None, :]) & ~itself
    return -(log_share.masked_fill(~positive, 0.0).sum(dim=1) / positive.sum(dim=1)).mean()
