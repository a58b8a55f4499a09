"""What a camera of the synthetic world sees without an animal: scenery, what hides, light.

A scene is drawn once for a camera and lit anew for each event. Does not cover the animal or
how it is laid into the frame (`trainer.synthetic`).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from trainer.animal import Bytes, Floats, Placement
from trainer.schedule import Event, Light

_COAT_COLOURS = ((205.0, 166.0, 108.0), (72.0, 50.0, 35.0))  # ground and dark; red, green, blue
_TINT: dict[Light, tuple[float, float, float]] = {
    "day": (1.0, 0.99, 0.95),
    "dusk": (0.66, 0.54, 0.50),
    "infrared": (0.85, 0.85, 0.85),
}
_NOISE: dict[Light, float] = {"day": 3.0, "dusk": 6.0, "infrared": 8.0}  # grey levels


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What one camera always sees: scenery, how far its flash reaches, and grass in front."""

    base_HWC: Floats
    reach_HW: Floats
    grass_HW4: Floats  # premultiplied by its fourth channel, alpha


@dataclass(frozen=True, kw_only=True)
class Lighting:
    """A scene as one event finds it: `light_HWC` multiplies whatever stands in it."""

    back_HWC: Floats
    grass_HW4: Floats  # in front of the animal; premultiplied by its fourth channel, alpha
    cover_HW4: Floats  # likewise, but does not move
    coat_2C: Floats  # ground and dark colour
    light_HWC: Floats
    dapple: float  # depth of the shade of leaves, a fraction of the light
    noise: float  # standard deviation in grey levels


def draw_scene(rng: np.random.Generator, height: int, width: int) -> Scene:
    horizon = int(height * rng.uniform(0.25, 0.42))
    rows_H1 = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None]
    sky = np.array([150, 175, 200], np.float32) + rng.uniform(-20, 20, 3).astype(np.float32)
    soil = np.array([128, 116, 78], np.float32) + rng.uniform(-18, 18, 3).astype(np.float32)
    base_HWC = np.broadcast_to(sky, (height, width, 3)) * (0.85 + 0.3 * rows_H1[:, :, None])
    patches_HW = cloud(rng, height, width, 5) + 0.5 * cloud(rng, height, width, 110)
    ground_HWC = soil * (1.0 + 0.22 * patches_HW[:, :, None])
    base_HWC[horizon:] = ground_HWC[horizon:]
    canvas_HWC = np.clip(base_HWC, 0, 255).astype(np.uint8)
    _paint_hills(canvas_HWC, rng, horizon)
    for _ in range(int(rng.integers(2, 6))):
        _paint_tree(canvas_HWC, rng, horizon)
    for _ in range(int(rng.integers(2, 7))):
        spot = (rng.uniform(0, width), rng.uniform(horizon + 0.05 * height, height))
        _paint_rock(canvas_HWC, rng, spot, rng.uniform(0.01, 0.05) * width)
    leaf = soil * rng.uniform(0.7, 1.15)
    _paint_grass(canvas_HWC, rng, leaf, (horizon / height, 0.9), num=int(rng.integers(60, 200)))
    grass_HW4: Bytes = np.zeros((height, width, 4), np.uint8)
    _paint_grass(grass_HW4, rng, leaf * 0.9, (0.97, 1.08), num=int(rng.integers(10, 45)))
    reach_HW = np.clip((rows_H1 - 0.8 * horizon / height) * 2.2, 0.12, 1.0)
    return Scene(
        base_HWC=canvas_HWC.astype(np.float32),
        reach_HW=reach_HW,
        grass_HW4=grass_HW4.astype(np.float32),
    )


def cloud(rng: np.random.Generator, height: int, width: int, cells: int) -> Floats:
    """Smooth noise of about unit size, `cells` of it across the frame."""
    coarse = rng.standard_normal((max(cells * height // width, 2), cells)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def _paint_hills(canvas_HWC: Bytes, rng: np.random.Generator, horizon: int) -> None:
    height, width = canvas_HWC.shape[:2]
    x_W = np.arange(0, width + 8, 8)
    for depth in (1.0, 0.5):
        waves = sum(
            np.sin(x_W / width * rng.uniform(3, 14) + rng.uniform(0, 6.3)) / k for k in (1, 2, 3)
        )
        y_W = horizon - height * 0.05 * depth * (1.4 + waves)
        outline = np.stack([np.append(x_W, [width, 0]), np.append(y_W, [horizon, horizon])], 1)
        colour = (np.array([86, 104, 84]) + 40 * depth + rng.uniform(-12, 12, 3)).tolist()
        cv2.fillPoly(canvas_HWC, [outline.astype(np.int32)], colour, cv2.LINE_AA)


def _paint_tree(canvas_HWC: Bytes, rng: np.random.Generator, horizon: int) -> None:
    height, width = canvas_HWC.shape[:2]
    x, foot = rng.uniform(0, width), horizon + rng.uniform(0.0, 0.2) * height
    size = (0.25 + 1.6 * (foot - horizon) / height) * height
    bark, leaf = rng.uniform(50, 80) * np.array([1.0, 0.85, 0.7]), np.array([62.0, 82.0, 46.0])
    top = (int(x + rng.uniform(-0.1, 0.1) * size), int(foot - size))
    cv2.line(canvas_HWC, (int(x), int(foot)), top, bark.tolist(), max(int(0.07 * size), 1), 16)
    for _ in range(26):
        dx, dy = rng.normal(0, 0.26, 2) * size * np.array([1.0, 0.5])
        colour = (leaf * rng.uniform(0.65, 1.25)).tolist()
        centre = (int(top[0] + dx), int(top[1] + dy))
        cv2.circle(canvas_HWC, centre, int(size * rng.uniform(0.05, 0.13)) + 1, colour, -1, 16)


def _paint_rock(
    canvas: Bytes, rng: np.random.Generator, spot: tuple[float, float], radius: float
) -> None:
    angles = np.linspace(0, 2 * np.pi, 11)[:-1]
    radii = radius * rng.uniform(0.75, 1.15, 10)
    grey = rng.uniform(80, 140)
    for shift, gain in ((0.0, 0.7), (-0.18, 1.0), (-0.34, 1.15)):
        reach = radii * (1.0 + 1.2 * shift)
        points = np.stack(
            [reach * np.cos(angles), 0.7 * reach * np.sin(angles) + shift * radius], 1
        )
        colour = (grey * gain, grey * gain * 0.96, grey * gain * 0.9, 255)
        outline = (points + np.array(spot)).astype(np.int32)
        cv2.fillPoly(canvas, [outline], colour, cv2.LINE_AA)


def _paint_grass(
    canvas: Bytes,
    rng: np.random.Generator,
    colour: Floats,
    roots: tuple[float, float],
    num: int,
) -> None:
    """Tufts rooted in a band of the frame (fractions of its height), nearer ones larger."""
    height, width = canvas.shape[:2]
    for root in np.sort(rng.uniform(*roots, num)):
        x, y = rng.uniform(0, width), root * height
        size = height * 0.17 * max(root - 0.25, 0.05) * rng.uniform(0.7, 1.5)
        _paint_tuft(canvas, rng, colour, (x, y), size)


def _paint_tuft(
    canvas: Bytes, rng: np.random.Generator, colour: Floats, root: tuple[float, float], size: float
) -> None:
    for lean in rng.normal(0, 0.45, 7):
        tip = (root[0] + lean * size, root[1] - size * rng.uniform(0.7, 1.1))
        bow = (root[0] + 0.2 * lean * size, root[1] - 0.6 * size)
        shade = (*(colour * rng.uniform(0.6, 1.35)).clip(0, 255).tolist(), 255)
        points = np.array([root, bow, tip], np.float32).astype(np.int32)
        cv2.polylines(canvas, [points], False, shade, max(int(size * 0.035), 1), cv2.LINE_AA)


def draw_cover(rng: np.random.Generator, height: int, width: int, placement: Placement) -> Bytes:
    """Often a rock, a bush or a trunk in front of the animal's way, else nothing."""
    cover_HW4: Bytes = np.zeros((height, width, 4), np.uint8)
    x = placement.centre_x + rng.uniform(-0.25, 0.25) * width
    foot, kind = placement.feet_y + 0.03 * height, rng.random()
    if kind < 0.12:
        _paint_rock(cover_HW4, rng, (x, foot), width * rng.uniform(0.05, 0.09))
    elif kind < 0.28:
        leaf = np.array([74.0, 92.0, 52.0], np.float32) * rng.uniform(0.7, 1.3)
        for _ in range(9):
            root = (x + rng.normal(0, 0.03) * width, foot + 6)
            _paint_tuft(cover_HW4, rng, leaf, root, 0.32 * height * rng.uniform(0.6, 1))
    elif kind < 0.38:
        lean, bark = rng.uniform(-0.05, 0.05) * width, rng.uniform(50, 85)
        thick = int(width * rng.uniform(0.02, 0.04))
        ends = ((int(x), int(foot + 0.03 * height)), (int(x + lean), -thick))
        cv2.line(cover_HW4, *ends, (bark, bark * 0.87, bark * 0.72, 255), thick, cv2.LINE_AA)
    return cover_HW4


def light_scene(
    event: Event, scene: Scene, painted_cover_HW4: Bytes, rng: np.random.Generator
) -> Lighting:
    """The scene by the light of the hour; infrared is grey and fades with distance."""
    height, width = scene.base_HWC.shape[:2]
    back_HWC, coat_2C = scene.base_HWC, np.array(_COAT_COLOURS, np.float32)
    grass_HW4, cover_HW4 = scene.grass_HW4, painted_cover_HW4.astype(np.float32)
    across_1W = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    if event.light == "infrared":
        back_HWC = _grey(back_HWC) * scene.reach_HW[:, :, None]
        grass_HW4, cover_HW4, coat_2C = _grey(grass_HW4), _grey(cover_HW4), _grey(coat_2C)
        down_H1 = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        light_HW = 1.1 - 0.3 * (across_1W**2 + down_H1**2)
    else:
        hour = event.starts_at.hour + event.starts_at.minute / 60
        light_HW = 1.0 + 0.15 * np.cos(np.pi * (hour - 5) / 14) * across_1W
    tint = np.array(_TINT[event.light]) * rng.uniform(0.85, 1.12)
    if event.light == "dusk":
        tint = tint * np.array([1.0, 1.0, rng.uniform(0.85, 1.35)])  # red sun or blue hour
    return Lighting(
        back_HWC=back_HWC,
        grass_HW4=grass_HW4,
        cover_HW4=cover_HW4,
        coat_2C=coat_2C,
        light_HWC=(light_HW[:, :, None] * tint).astype(np.float32),
        dapple=0.04 if event.light == "infrared" else rng.uniform(0.05, 0.30),
        noise=_NOISE[event.light],
    )


def _grey(colours: Floats) -> Floats:
    """The first three channels replaced by their brightness in the near infrared."""
    grey: Floats = colours.copy()
    grey[..., :3] = (colours[..., :3] @ np.array([0.5, 0.4, 0.1], np.float32))[..., None]
    return grey


def sway(grass_HW4: Floats, rng: np.random.Generator) -> Floats:
    """The grass, pushed sideways by a gust of wind: a few pixels, by a wave across the frame."""
    height, width = grass_HW4.shape[:2]
    x_1W = np.arange(width, dtype=np.float32)[None, :]
    y_H1 = np.arange(height, dtype=np.float32)[:, None]
    push_1W = np.sin(x_1W * 20 / width + rng.uniform(0, 6.3)) * rng.uniform(0, 0.012) * width
    source_x = x_1W + push_1W * (1.0 - y_H1 / height) * 3.0
    source_y = np.broadcast_to(y_H1, source_x.shape)
    return np.asarray(
        cv2.remap(grass_HW4, source_x.astype(np.float32), source_y.copy(), cv2.INTER_LINEAR)
    )
