"""A synthetic camera-trap world, drawn from a seed: pictures, boxes and the truth about them.

Three parts (train, gallery, inbox) that share neither cameras nor pictures; only the gallery's
animals come back, in the inbox. For demos and tests: figures measured on it say nothing about
real animals. Does not cover the animals (`trainer.animal`), what stands around them
(`trainer.scenery`) or when they pass (`trainer.schedule`).
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from PIL import Image as PillowImage

from edge.errors import FanclError, InputError
from trainer.animal import Bytes, Floats, Layer, Placement, Pose, draw_coat, place, pose_body
from trainer.scenery import Lighting, Scene, cloud, draw_cover, draw_scene, light_scene, sway
from trainer.schedule import Event, Visit, WorldPlan, schedule_events, tiny_plan

_DEMO = WorldPlan()
_JPEG_QUALITY = 88
_EXIF_IFD, _EXIF_MAKE, _EXIF_MODEL, _EXIF_DATE_TIME = 0x8769, 0x010F, 0x0110, 0x0132
_EXIF_DATE_TIME_ORIGINAL, _EXIF_SUBSEC_ORIGINAL = 0x9003, 0x9291


@dataclass(frozen=True, kw_only=True)
class _Shot:
    """One drawn frame."""

    event: Event
    path: str  # relative to the part's folder
    taken_at: datetime
    jpeg: bytes
    box: tuple[int, int, int, int] | None  # x, y, width, height in pixels; None for a blank


def draw_world(
    root: Path,
    seed: int,
    plan: WorldPlan = _DEMO,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes the world of `seed` below `root`; `progress` is told (frames done, frames in all).

    The same seed and plan give the same bytes. Raises InputError when `root` holds anything
    or the seed is negative.
    """
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise InputError(f"{root} exists and is not empty; give a new folder to draw into")
    if seed < 0:
        raise InputError(f"seed is {seed}; give 0 or more")
    events = schedule_events(plan, _rng(seed, "schedule"))
    num_frames = sum(event.visit.num_frames for event in events)
    shots: list[_Shot] = []
    for camera, at_camera in groupby(events, key=lambda event: event.camera):
        scene = draw_scene(_rng(seed, "scene", camera), plan.frame_height, plan.frame_width)
        for event in at_camera:
            for shot in _draw_event(event, scene, seed, plan):
                _write(root / event.visit.part / shot.path, shot.jpeg)
                shots.append(replace(shot, jpeg=b""))
            if progress is not None:
                progress(len(shots), num_frames)
    _write_tables(root, shots, plan)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _rng(seed: int, *names: str) -> np.random.Generator:
    """A stream of its own for each thing drawn, so that the order of drawing does not matter."""
    key = tuple(byte for name in names for byte in (*name.encode(), 256))
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


# One event: an animal walks through the scene


def _draw_event(event: Event, scene: Scene, seed: int, plan: WorldPlan) -> list[_Shot]:
    rng = _rng(seed, "event", str(event.number))
    flank, size = event.visit.flank, (plan.frame_height, plan.frame_width)
    coat = draw_coat(_rng(seed, "coat", event.visit.identity)) if flank else None
    steps = _walk(rng, plan, event.visit)
    lighting = light_scene(event, scene, draw_cover(rng, *size, steps[0][1]), rng)
    shots = []
    for index, (pose, placement) in enumerate(steps):
        layer = None
        if coat is not None and flank:
            body_HW3 = pose_body(coat.flank(flank), pose)
            motion_HW3 = cv2.blur(body_HW3, (int(rng.integers(1, 6)), 1)).astype(np.uint8)
            layer = place(motion_HW3, flank, placement, size)
        image_HWC, visible_HW = _draw_frame(lighting, layer, placement, rng)
        taken_at = event.starts_at + timedelta(seconds=index)
        shots.append(
            _Shot(
                event=event,
                path=f"{event.camera}/IMG_{event.first_image + index:04d}.JPG",
                taken_at=taken_at,
                jpeg=_jpeg(image_HWC, taken_at, event.camera),
                box=_box(visible_HW) if flank else None,
            )
        )
    return shots


def _walk(rng: np.random.Generator, plan: WorldPlan, visit: Visit) -> list[tuple[Pose, Placement]]:
    """A pose and a place for each frame of the burst, never leaving the frame.

    The pose is drawn anew for each frame: where a burst shares more than its coat, training on
    bursts learns that instead.
    """
    width, height = plan.frame_width, plan.frame_height
    scale = min(width, 1.5 * height) / 275.0 * rng.uniform(0.40, 0.62)
    step = width * rng.uniform(0.04, 0.10) * (rng.random() < 0.85)
    walked = step * (visit.num_frames - 1)
    x = rng.uniform(150 * scale, max(width - 150 * scale - walked, 150 * scale + 1))
    ahead = 1.0
    if visit.flank == "left":
        x, ahead = width - x, -1.0
    gait, stride = rng.uniform(0, 6.28), rng.uniform(14, 26) if step else rng.uniform(0, 8)
    feet_y, turned = height * rng.uniform(0.82, 0.94), rng.uniform(0.80, 0.97)
    steps = []
    for index in range(visit.num_frames):
        pose = Pose(
            gait=gait + index * rng.uniform(1.5, 4.5),
            stride=stride,
            neck=rng.uniform(-5, 36),
            head=rng.uniform(-8, 14),
            tail=rng.uniform(-8, 16),
        )
        placement = Placement(
            centre_x=x + ahead * step * index,
            feet_y=feet_y + rng.normal(0, 0.006) * height,
            scale=scale * rng.uniform(0.95, 1.05),
            squash=turned * rng.uniform(0.95, 1.03),
            tilt=rng.uniform(-8, 8),
            bend=rng.uniform(-6, 9),
            taper=rng.uniform(-0.16, 0.16),
        )
        steps.append((pose, placement))
    return steps


def _draw_frame(
    lighting: Lighting, layer: Layer | None, placement: Placement, rng: np.random.Generator
) -> tuple[Bytes, Bytes]:
    """The frame, uint8 [H, W, 3], and a mask of what is seen of the animal, uint8 [H, W]."""
    image_HWC = lighting.back_HWC.copy()
    height, width = image_HWC.shape[:2]
    seen_HW = np.zeros((height, width), np.float32)
    if layer is not None:
        _add_shadow(image_HWC, placement)
        _add_animal(image_HWC, seen_HW, layer, lighting.coat_2C)
    for over_HW4 in (lighting.cover_HW4, sway(lighting.grass_HW4, rng)):
        clear_HW1 = 1.0 - over_HW4[:, :, 3:] / 255.0
        image_HWC *= clear_HW1
        image_HWC += over_HW4[:, :, :3]
        seen_HW *= clear_HW1[:, :, 0]
    dapple_HW = np.clip(cloud(rng, height, width, 16), -1.5, 1.0) * lighting.dapple
    exposure_HW = (dapple_HW + rng.uniform(0.88, 1.12)).astype(np.float32)
    image_HWC *= lighting.light_HWC * exposure_HW[:, :, None]
    noise_HW = rng.standard_normal((height, width), np.float32) * np.float32(lighting.noise)
    image_HWC += noise_HW[:, :, None]
    return np.clip(image_HWC, 0, 255).astype(np.uint8), (seen_HW > 0.5).astype(np.uint8)


def _add_shadow(image_HWC: Floats, placement: Placement) -> None:
    shadow_HW: Bytes = np.zeros(image_HWC.shape[:2], np.uint8)
    centre = (int(placement.centre_x), int(placement.feet_y))
    axes = (int(105 * placement.scale * placement.squash), int(11 * placement.scale) + 1)
    cv2.ellipse(shadow_HW, centre, axes, 0, 0, 360, 110, -1, cv2.LINE_AA)
    soft_HW = cv2.blur(shadow_HW, (11, 5)).astype(np.float32)
    image_HWC *= 1.0 - soft_HW[:, :, None] / 255.0


def _add_animal(image_HWC: Floats, seen_HW: Floats, layer: Layer, coat_2C: Floats) -> None:
    height, width = layer.alpha_HW.shape
    window = (slice(layer.top, layer.top + height), slice(layer.left, layer.left + width))
    mark_HW1, alpha_HW1 = layer.mark_HW[:, :, None], layer.alpha_HW[:, :, None]
    animal_HWC = coat_2C[0] + (coat_2C[1] - coat_2C[0]) * mark_HW1
    animal_HWC *= layer.shade_HW[:, :, None]
    image_HWC[window] += (animal_HWC - image_HWC[window]) * alpha_HW1
    seen_HW[window] = layer.alpha_HW


def _box(visible_HW: Bytes) -> tuple[int, int, int, int]:
    x, y, width, height = cv2.boundingRect(visible_HW)
    return x, y, width, height


# Files


def _jpeg(image_HWC: Bytes, taken_at: datetime, camera: str) -> bytes:
    """The picture as a camera would store it: JPEG with the time in its EXIF block."""
    exif = PillowImage.Exif()
    exif[_EXIF_MAKE], exif[_EXIF_MODEL] = "fancl synthetic", camera
    exif[_EXIF_DATE_TIME] = f"{taken_at:%Y:%m:%d %H:%M:%S}"
    details = exif.get_ifd(_EXIF_IFD)
    details[_EXIF_DATE_TIME_ORIGINAL] = f"{taken_at:%Y:%m:%d %H:%M:%S}"
    details[_EXIF_SUBSEC_ORIGINAL] = f"{taken_at.microsecond // 1000:03d}"
    buffer = io.BytesIO()
    PillowImage.fromarray(image_HWC).save(buffer, "JPEG", quality=_JPEG_QUALITY, exif=exif)
    return buffer.getvalue()


def _write_tables(root: Path, shots: list[_Shot], plan: WorldPlan) -> None:
    for part in ("train", "inbox"):
        mine = [shot for shot in shots if shot.event.visit.part == part]
        text = json.dumps(_boxes(mine, plan), indent=1)
        (root / f"{part}-boxes.json").write_text(text + "\n", encoding="utf-8")
    in_gallery = [shot for shot in shots if shot.event.visit.part == "gallery"]
    rows = [_gallery_row(number, shot) for number, shot in enumerate(in_gallery, start=1)]
    _write_csv(root / "gallery" / "metadata.csv", rows)
    _write_csv(root / "truth.csv", [_truth_row(shot) for shot in shots])


def _boxes(shots: list[_Shot], plan: WorldPlan) -> dict[str, Any]:
    """What MegaDetector's batch mode would have written."""
    size = (plan.frame_width, plan.frame_height) * 2
    images = []
    for shot in shots:
        detections = []
        if shot.box is not None:
            bbox = [round(value / side, 6) for value, side in zip(shot.box, size, strict=True)]
            detections.append({"category": "1", "conf": 0.95, "bbox": bbox})
        images.append({"file": shot.path, "detections": detections})
    return {
        "info": {"format_version": "1.4", "detector": "drawn, not detected (trainer.synthetic)"},
        "detection_categories": {"1": "animal", "2": "person", "3": "vehicle"},
        "images": images,
    }


def _gallery_row(number: int, shot: _Shot) -> dict[str, str]:
    return {
        "image_id": str(number),
        "identity": shot.event.visit.identity,
        "path": shot.path,
        "bbox": str(list(shot.box or ())),
        "date": f"{shot.taken_at:%Y-%m-%d %H:%M:%S}",
        "position": shot.event.visit.flank,
        "encounter": shot.event.encounter,
    }


def _truth_row(shot: _Shot) -> dict[str, str]:
    visit = shot.event.visit
    return {
        "part": visit.part,
        "path": shot.path,
        "identity": visit.identity,
        "known": str(int(visit.identity.startswith("K"))),
        "flank": visit.flank,
        "encounter": shot.event.encounter,
        "light": shot.event.light,
        "timestamp": shot.taken_at.isoformat(sep=" ", timespec="milliseconds"),
    }


def _write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main(
    root: Annotated[Path, typer.Argument(help="New or empty folder to draw into.")],
    seed: Annotated[int, typer.Option(help="Same seed, same world, byte for byte.")] = 1,
    tiny: Annotated[bool, typer.Option(help="A few animals only, drawn in seconds.")] = False,
) -> None:
    """Draw a synthetic camera-trap world to try everything on before you have pictures.

    ROOT/train holds unlabelled frames to learn from, ROOT/gallery the known animals with their
    names, ROOT/inbox new frames of known animals and strangers, ROOT/truth.csv who is who.
    """
    plan = tiny_plan() if tiny else _DEMO
    try:
        draw_world(root, seed, plan, _print_progress if sys.stderr.isatty() else None)
    except FanclError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    with (root / "truth.csv").open(encoding="utf-8") as file:
        counts = Counter(row["part"] for row in csv.DictReader(file))
    typer.echo(f"train    {counts['train']:5d} frames  {root / 'train'}  (train-boxes.json)")
    typer.echo(f"gallery  {counts['gallery']:5d} frames  {root / 'gallery' / 'metadata.csv'}")
    typer.echo(f"inbox    {counts['inbox']:5d} frames  {root / 'inbox'}  (inbox-boxes.json)")
    typer.echo(f"truth                  {root / 'truth.csv'}  (for scoring only)")


def _print_progress(done: int, total: int) -> None:
    """A line that overwrites itself; for terminals only, a log would keep every state of it."""
    if done == total or done % 60 < 3:
        typer.echo(f"\rdrawn {done} of {total} frames", nl=done == total, err=True)


if __name__ == "__main__":
    typer.run(main)
