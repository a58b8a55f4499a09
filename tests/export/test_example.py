"""docs/examples and the preprocessing of docs/model-format.md, without anything of ours."""

from __future__ import annotations

import io
import subprocess
import sys
import sysconfig
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.encoder import open_encoder
from edge.preprocess import InputSpec, resize

from ..edge.conftest import draw, write_model

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "embed.py"
# -I and -S leave out the checkout and an editable install, None in sys.modules an installed wheel.
START = """
import sys
sys.path += sys.argv[1].split(":")
for ours in ("edge", "export", "trainer"):
    sys.modules[ours] = None
    try:
        __import__(ours)
    except ImportError:
        continue
    sys.exit(f"{ours} can be imported")
import runpy
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
PACKAGES = ":".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Wide, tall, and smaller than any encoder's input."""
    paths = []
    for number, (height, width) in enumerate(((60, 200), (150, 40), (5, 7))):
        image = cv2.resize(draw("A", shot=number), (width, height))
        paths.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(paths[-1]), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return paths


def by_example(model: Path, pictures: list[Path]) -> NDArray[np.float64]:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", START, PACKAGES, str(EXAMPLE), str(model),
         *map(str, pictures)],
        capture_output=True,
        text=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return np.loadtxt(io.StringIO(done.stdout), delimiter=",", ndmin=2)


def by_us(model: Path, pictures: list[Path]) -> NDArray[np.float32]:
    images = [cv2.cvtColor(cv2.imread(str(one)), cv2.COLOR_BGR2RGB) for one in pictures]
    return open_encoder(model).embed_crops([np.asarray(one, np.uint8) for one in images])


def test_the_example_gives_what_the_device_gives(model_file: Path, pictures: list[Path]) -> None:
    found = by_example(model_file, pictures)
    np.testing.assert_allclose(found, by_us(model_file, pictures), atol=1e-6)


def test_the_example_letterboxes_as_the_device_does(tmp_path: Path, pictures: list[Path]) -> None:
    spec = InputSpec(height=8, width=8, resize="letterbox", pad_value=117)
    path = write_model(tmp_path / "letterbox.onnx", input=spec)
    np.testing.assert_allclose(by_example(path, pictures), by_us(path, pictures), atol=1e-6)


def shrink(size: int, target: int) -> NDArray[np.float64]:
    """[target, size]: each new pixel is the mean of the stretch that it covers."""
    weights = np.zeros((target, size))
    for new in range(target):
        start, end = new * size / target, (new + 1) * size / target
        for old in range(size):
            weights[new, old] = max(0.0, min(end, old + 1) - max(start, old))
    return weights / weights.sum(axis=1, keepdims=True)


def grow(size: int, target: int) -> NDArray[np.float64]:
    """[target, size]: bilinear between pixel centres, the border pixel repeated."""
    weights = np.zeros((target, size))
    for new in range(target):
        centre = (new + 0.5) * size / target - 0.5
        low = int(np.floor(centre))
        weights[new, min(max(low, 0), size - 1)] += 1 - (centre - low)
        weights[new, min(max(low + 1, 0), size - 1)] += centre - low
    return weights


def by_the_page(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float64]:
    old_height, old_width = image.shape[:2]
    low, narrow = min(old_height, height), min(old_width, width)
    smaller = np.rint(
        np.einsum("ah,bw,hwc->abc", shrink(old_height, low), shrink(old_width, narrow), image)
    )
    return np.rint(np.einsum("ah,bw,hwc->abc", grow(low, height), grow(narrow, width), smaller))


@pytest.mark.parametrize(
    ("old", "new", "tolerance"),
    [
        ((90, 120), (32, 48), 1),
        ((64, 96), (32, 48), 1),
        ((9, 11), (32, 48), 1),
        ((90, 11), (32, 48), 2),
        ((9, 120), (32, 48), 2),
        ((32, 48), (32, 48), 0),
    ],
)
def test_resizing_is_what_the_page_says(
    old: tuple[int, int], new: tuple[int, int], tolerance: int
) -> None:
    """Against a slow version of docs/model-format.md; OpenCV rounds halves and weights its way."""
    image = np.random.default_rng(0).integers(0, 256, (*old, 3), dtype=np.uint8)
    spec = InputSpec(height=new[0], width=new[1], resize="squash", pad_value=0)
    apart = np.abs(resize(image, spec) - by_the_page(image, *new))
    assert apart.max() <= tolerance
    assert apart.mean() < 0.25


@pytest.mark.parametrize(
    ("old", "inner", "corner"),
    [
        ((100, 50), (32, 16), (0, 16)),
        ((50, 100), (24, 48), (4, 0)),
        ((10, 10), (32, 32), (0, 8)),
        ((1, 1000), (1, 48), (15, 0)),
        ((33, 48), (32, 47), (0, 0)),
    ],
)
def test_a_letterbox_lies_where_the_page_says(
    old: tuple[int, int], inner: tuple[int, int], corner: tuple[int, int]
) -> None:
    spec = InputSpec(height=32, width=48, resize="letterbox", pad_value=117)
    white = np.full((*old, 3), 255, np.uint8)
    expected = np.full((32, 48, 3), 117, np.uint8)
    (height, width), (top, left) = inner, corner
    expected[top : top + height, left : left + width] = 255
    np.testing.assert_array_equal(resize(white, spec), expected)
