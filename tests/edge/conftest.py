"""Fixtures: a tiny model made without the onnx package, pictures drawn from a seed, a device."""

from __future__ import annotations

import csv
import dataclasses
import os
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage

from edge import model
from edge.model import Decision, Golden, Manifest, Training
from edge.preprocess import InputSpec

SIDE, DIM = 8, 64  # pixels of the tiny model's input; numbers in its embedding
NO_DECISION = Decision(
    source=None,
    match_threshold=None,
    new_threshold=None,
    wrong_name_rate=None,
    false_new_rate=None,
)
# With these a drawn animal matches itself (about 0.95) and never another (below 0.5).
DECISION = Decision(
    source="labels",
    match_threshold=0.8,
    new_threshold=0.6,
    wrong_name_rate=0.1,
    false_new_rate=0.05,
)


# --- protobuf by hand: an ONNX file is a few nested length-prefixed fields


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def block(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _node(op: str, inputs: Sequence[str], output: str, **attributes: int) -> bytes:
    body = b"".join(block(1, one) for one in inputs) + block(2, output) + block(4, op)
    for name, value in attributes.items():
        body += block(5, block(1, name) + number(3, value) + number(20, 2))
    return block(1, body)


def _tensor(name: str, values: NDArray[np.float32]) -> bytes:
    dims = b"".join(number(1, size) for size in values.shape)
    return block(5, dims + number(2, 1) + block(8, name) + block(9, values.tobytes()))


def _value(field: int, name: str, element: int, sizes: Sequence[int]) -> bytes:
    dims = b"".join(block(1, number(1, one) if one else block(2, "N")) for one in sizes)
    return block(field, block(1, name) + block(2, block(1, number(1, element) + block(2, dims))))


def onnx_bytes(manifest_json: str | None, seed: int = 0) -> bytes:
    """Centred pixels times a fixed random matrix, brought to unit length."""
    weights = np.random.default_rng(seed).standard_normal((SIDE * SIDE * 3, DIM))
    graph = b"".join(
        (
            _node("Cast", [model.INPUT_NAME], "float", to=1),
            _node("Sub", ["float", "grey"], "centred"),
            _node("Flatten", ["centred"], "flat", axis=1),
            _node("MatMul", ["flat", "weights"], "projected"),
            _node("LpNormalization", ["projected"], model.OUTPUT_NAME, axis=1, p=2),
            block(2, "tiny"),
            _tensor("grey", np.array([120.5], np.float32)),
            _tensor("weights", weights.astype(np.float32)),
            _value(11, model.INPUT_NAME, 2, (0, SIDE, SIDE, 3)),
            _value(12, model.OUTPUT_NAME, 1, (0, DIM)),
        )
    )
    whole = number(1, 8) + block(7, graph) + block(8, number(2, 17))
    if manifest_json is not None:
        whole += block(14, block(1, model.METADATA_KEY) + block(2, manifest_json))
    return model.seal(whole)


@cache
def _golden(seed: int) -> Golden:
    import onnxruntime

    plain = onnx_bytes(None, seed)
    images = np.random.default_rng(9).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(plain, providers=["CPUExecutionProvider"])
    emb_ND = np.asarray(session.run(None, {model.INPUT_NAME: images})[0])
    return model.pack_golden(images, emb_ND, min_cosine=0.9999)


def tiny_manifest(seed: int = 0, decision: Decision = DECISION) -> Manifest:
    return Manifest(
        format_version=model.FORMAT_VERSION,
        name="tiny",
        method="random projection",
        backbone="none",
        species=None,
        encoder_id=model.encoder_id(onnx_bytes(None, seed)),
        input=InputSpec(height=SIDE, width=SIDE, resize="squash", pad_value=0),
        embedding_dim=DIM,
        precision="fp32",
        training=Training(data_digest="0" * 64, counts={}, config={}, commit=None),
        evaluation=None,
        fidelity=None,
        decision=decision,
        calibration=None,
        golden=_golden(seed),
        licence=None,
    )


def write_model(
    path: Path, seed: int = 0, decision: Decision = DECISION, **changes: object
) -> Path:
    manifest = dataclasses.replace(tiny_manifest(seed, decision), **changes)  # type: ignore[arg-type]
    path.write_bytes(onnx_bytes(model.manifest_to_json(manifest), seed))
    return path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


# --- pictures


def coat(animal: str) -> NDArray[np.uint8]:
    """The animal's own pattern: coarse blotches, 8 x 8, that survive shrinking and JPEG."""
    seed = int.from_bytes(animal.encode(), "big")
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def draw(*animals: str, shot: int = 0, side: int = 64) -> NDArray[np.uint8]:
    """A picture with the animals side by side; `shot` varies light and noise."""
    rng = np.random.default_rng([shot, 77])
    parts = [
        cv2.resize(coat(one), (side, side), interpolation=cv2.INTER_NEAREST) for one in animals
    ]
    image = np.concatenate(parts, axis=1).astype(np.float32)
    image = image * rng.uniform(0.8, 1.1) + rng.normal(0, 12, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def save(path: Path, image: NDArray[np.uint8], taken: str | None = None) -> Path:
    """A JPEG, with `taken` ('2026-05-01 06:30:00') as its EXIF time; settled long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = PillowImage.fromarray(image)
    exif = picture.getexif()
    if taken is not None:
        moment = datetime.fromisoformat(taken)
        exif.get_ifd(0x8769)[0x9003] = f"{moment:%Y:%m:%d %H:%M:%S}"
    with path.open("wb") as file:
        picture.save(file, format="JPEG", quality=92, exif=exif)
    age(path)
    return path


def age(path: Path, seconds: float = 3600) -> None:
    """As if written long ago, so that nothing waits for it to settle."""
    moment = time.time() - seconds
    os.utime(path, (moment, moment), follow_symlinks=False)


# --- a device


@dataclass(frozen=True, kw_only=True)
class Ran:
    code: int
    out: str
    err: str


@dataclass(frozen=True, kw_only=True)
class Device:
    """The commands over one inbox and one state folder, run in this process."""

    inbox: Path
    state: Path
    model: Path
    run: Callable[..., Ran]

    def watch(self, *flags: str) -> Ran:
        return self.run(
            "watch", str(self.inbox), "--once", "--state", str(self.state),
            "--model", str(self.model), *flags,
        )  # fmt: skip

    def enroll(self, source: Path, *flags: str) -> Ran:
        return self.run(
            "gallery", "enroll", str(source), "--state", str(self.state),
            "--model", str(self.model), *flags,
        )  # fmt: skip

    def rows(self, level: str) -> list[dict[str, str]]:
        ran = self.run("report", "csv", "--level", level, "--state", str(self.state))
        assert ran.code == 0, ran.err
        return list(csv.DictReader(ran.out.splitlines()))

    def by_name(self) -> dict[str, dict[str, str]]:
        """The media rows by file name; of pictures with one detection or none."""
        return {Path(row["file_path"]).name: row for row in self.rows("media")}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    from edge import cli

    def run_command(command: str, *words: str) -> Ran:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", [f"edge-{command}", *words])
        with pytest.raises(SystemExit) as left:
            getattr(cli, command)()
        shown = capsys.readouterr()
        return Ran(code=int(left.value.code or 0), out=shown.out, err=shown.err)

    return run_command


@pytest.fixture
def device(tmp_path: Path, tiny_model: Path, run: Callable[..., Ran]) -> Device:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    return Device(inbox=inbox, state=tmp_path / "state", model=tiny_model, run=run)


@pytest.fixture
def known(device: Device, tmp_path: Path) -> Device:
    """A device that knows A, B and C, two pictures each."""
    for animal in "ABC":
        for shot in (1, 2):
            save(tmp_path / "known" / animal / f"{shot}.jpg", draw(animal, shot=shot))
    ran = device.enroll(tmp_path / "known")
    assert ran.code == 0, ran.err
    return device


def start(command: str, *words: str) -> subprocess.Popen[str]:
    """A command as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", f"from edge import cli; cli.{command}()", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def hollow_png(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", b"nothing"), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
