"""What FANA does to a few training crops: picture, activation, region, noised picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from edge.errors import InputError
from trainer.checkpoint import StoredEncoder
from trainer.data import Crops
from trainer.encoder import Encoder, to_pixels
from trainer.fana import Fana, select_area
from trainer.report.markup import missing, name, paragraph, percent, section
from trainer.report.pictures import figure
from trainer.report.record import RunRecord
from trainer.settings import FanaSettings, LossSettings

Image = NDArray[np.uint8]
_NUM_CROPS = 6
_SEED = 0
_LONGEST_SIDE = 256  # larger than elsewhere: single pixels are what this is about
_REGION_COLOUR = (255, 170, 0)


@dataclass(frozen=True, kw_only=True)
class NoiseView:
    """One crop on its way through FANA; all RGB [H, W, 3]."""

    picture_HWC: Image
    activation_HWC: Image  # heat map of A(x), eq. 1, from its least to its greatest value
    region_HWC: Image  # P(x), eq. 2, over the picture in grey
    noised_HWC: Image  # eq. 3


def render_noise(record: RunRecord, crops: Crops, stored: StoredEncoder | None) -> str:
    if record.method != "fancl":
        reason = f"The method {name(record.method)} adds no noise to pictures; fancl does."
        return _section([missing(reason)])
    settings = _settings(record)
    if settings is None:
        reason = (
            "This run was asked for no noise: <code>fana.area</code> is 0, or no part of the loss "
            "looks at noised pictures."
        )
        return _section([missing(reason)])
    if stored is None:
        reason = "There is no encoder yet: it is written after the first epoch that is not skipped."
        return _section([missing(reason)])
    fana = Fana(stored.encoder.cpu(), settings, _SEED)
    rng = np.random.default_rng(_SEED)
    rows = np.sort(rng.choice(len(crops), min(_NUM_CROPS, len(crops)), replace=False))
    views = noise_views(stored.encoder, fana, crops.images_NHWC[rows])
    shown = [
        _render_view(view, crops.facts[row].picture.name)
        for view, row in zip(views, rows, strict=True)
    ]
    parts = [_help(settings), f'<div class="noise">{"".join(shown)}</div>']
    return _section([*parts, _note(stored.facts.epoch)])


def _settings(record: RunRecord) -> FanaSettings | None:
    """None where no noised picture took part in training."""
    settings = record.config["settings"]
    try:
        fana = FanaSettings(**settings["fana"])
        noised = LossSettings(**settings["loss"]).needs_noised_branch
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{record.folder} was written by another release of fancl ({error}); use that one, "
            "or train again"
        ) from error
    return fana if noised and fana.area > 0 else None


def _help(settings: FanaSettings) -> str:
    return paragraph(
        f"FANA covers {percent(settings.area)} of each picture with noise, where the layer "
        f"{name(settings.layer)} of the encoder answers most, and the encoder must still recognise "
        "the picture. Good: the region lies on the animal's coat or outline. Bad: it lies on "
        "grass, sky or a time stamp in most pictures; crops that show less background help."
    )


def _note(epoch: int) -> str:
    return paragraph(
        "Each heat map goes from its own least value (black) to its own greatest (yellow). "
        f"The crops are drawn at random; the encoder is that of epoch {epoch}.",
        "quiet",
    )


@torch.no_grad()
def noise_views(encoder: Encoder, fana: Fana, images_NHWC: Image) -> list[NoiseView]:
    """The stages of FANA for each crop, uint8 [N, H, W, 3] at the encoder's input size."""
    normal_NCHW = encoder.normalise(to_pixels(torch.from_numpy(np.ascontiguousarray(images_NHWC))))
    activation_N1HW = fana.activation(normal_NCHW)
    region_NHW = select_area(activation_N1HW, fana.settings.area)[:, 0].numpy()
    noised_NCHW = (fana(normal_NCHW) * encoder.std + encoder.mean).clamp(0, 1)
    noised_NHWC = (noised_NCHW * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return [
        NoiseView(
            picture_HWC=picture_HWC,
            activation_HWC=_heat(activation_HW),
            region_HWC=_painted(picture_HWC, region_HW),
            noised_HWC=noised_HWC,
        )
        for picture_HWC, activation_HW, region_HW, noised_HWC in zip(
            images_NHWC, activation_N1HW[:, 0].numpy(), region_NHW, noised_NHWC, strict=True
        )
    ]


def _heat(activation_HW: NDArray[np.float32]) -> Image:
    low, high = float(activation_HW.min()), float(activation_HW.max())
    scaled = (activation_HW - low) / max(high - low, 1e-12)
    bgr_HWC = cv2.applyColorMap((255 * scaled).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.ascontiguousarray(np.asarray(bgr_HWC, np.uint8)[:, :, ::-1])


def _painted(picture_HWC: Image, region_HW: NDArray[np.bool_]) -> Image:
    """The region in colour over the picture in pale grey."""
    grey_HW = 120 + picture_HWC.mean(axis=2) / 2.2
    painted_HWC = np.repeat(grey_HW[:, :, None], 3, axis=2).clip(0, 255).astype(np.uint8)
    painted_HWC[region_HW] = _REGION_COLOUR
    return painted_HWC


def _render_view(view: NoiseView, picture_name: str) -> str:
    stages = (
        (view.picture_HWC, "picture"),
        (view.activation_HWC, "activation"),
        (view.region_HWC, "region"),
        (view.noised_HWC, "noised"),
    )
    figures = [
        figure(image_HWC, f"{picture_name}: {stage}", stage, longest_side=_LONGEST_SIDE)
        for image_HWC, stage in stages
    ]
    return (
        f'<div class="stages"><p class="quiet">{name(picture_name)}</p>'
        f'<div class="four">{"".join(figures)}</div></div>'
    )


def _section(parts: list[str]) -> str:
    return section("noise", parts)
