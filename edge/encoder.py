"""The encoder of a model file, run by onnxruntime: crops in, embeddings out.

Also the exporter's parity check and `fancl-eval model.onnx` go through here, so what is checked
is what a device runs. Does not cover what it is computed on there (edge/compute).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge import model
from edge.compute.engine import Engine
from edge.compute.providers import ON_CPU, Choice
from edge.compute.runtime import onnxruntime_flavour
from edge.compute.session import Opening, open_session
from edge.errors import ModelError
from edge.model import Manifest
from edge.model_file.graph import require_graph
from edge.preprocess import Image, resize

_BATCH = 64  # bounds memory; onnxruntime gains under 5 % from more on a CPU
_MAX_FILE_BYTES = 2**31 - 1  # of any protobuf message
_LENGTH_TOLERANCE = 2e-3  # of an embedding around 1; half precision is right to 5e-4


@dataclass(frozen=True, kw_only=True)
class GoldenCheck:
    worst_cosine: float
    min_cosine: float

    @property
    def passed(self) -> bool:
        return self.worst_cosine >= self.min_cosine


class Encoder:
    """An open model. `open_encoder` is the way to get one from a file."""

    def __init__(self, manifest: Manifest, engine: Engine, num_threads: int | None = None) -> None:
        """With `num_threads` so many crops are embedded at the same time, each by one thread.

        A core that other work takes away then delays one crop, not all, and an embedding does not
        depend on what else is in its batch. Without it onnxruntime shares batches out as it likes.
        """
        self.manifest = manifest
        self._engine = engine
        self._batch = _BATCH if num_threads is None else 1
        self._threads = ThreadPoolExecutor(num_threads or 1, thread_name_prefix="embed")

    @property
    def choice(self) -> Choice:
        """What it is computed on, and why."""
        return self._engine.choice

    def tell_of_fallback(self, tell: Callable[[str], None]) -> None:
        """`tell` is called, from any thread, when a provider fails and the CPU takes over."""
        self._engine.tell_of_fallback(tell)

    def embed(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Unit-length float32 [N, D] of resized uint8 crops [N, H, W, 3].

        Raises ModelError when the graph gives anything else.
        """
        spec = self.manifest.input
        if images_NHWC.shape[1:] != (spec.height, spec.width, 3):
            raise ValueError(f"crops of shape {images_NHWC.shape[1:]}, the model takes {spec}")
        starts = range(0, len(images_NHWC), self._batch)
        batches = [images_NHWC[start : start + self._batch] for start in starts]
        # A lone batch needs no thread of its own beside the one that waits for it.
        parts = list((self._threads.map if len(batches) > 1 else map)(self._run, batches))
        if not parts:
            return np.zeros((0, self.manifest.embedding_dim), np.float32)
        return np.concatenate(parts)

    def embed_crops(self, crops: list[Image]) -> NDArray[np.float32]:
        """Unit-length float32 [N, D] of crops of any size."""
        spec = self.manifest.input
        if not crops:
            return np.zeros((0, self.manifest.embedding_dim), np.float32)
        return self.embed(np.stack([resize(crop, spec) for crop in crops]))

    def check_golden(self, num_inputs: int | None = None) -> GoldenCheck:
        """How well this machine reproduces the embeddings the exporter saw; of all by default."""
        images, expected = model.unpack_golden(self.manifest.golden)
        _require_embeddings(expected, (len(images), self.manifest.embedding_dim), "golden vectors")
        images, expected = images[:num_inputs], expected[:num_inputs]
        cosines = np.sum(self.embed(images) * expected, axis=1)
        return GoldenCheck(
            worst_cosine=float(cosines.min()), min_cosine=self.manifest.golden.min_cosine
        )

    def _run(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        shape = (len(images_NHWC), self.manifest.embedding_dim)
        return self._engine.run(
            images_NHWC, lambda emb_ND: _require_embeddings(emb_ND, shape, "output")
        )


def encoder_of(model_bytes: bytes, num_threads: int | None = None) -> Encoder:
    """The encoder of a whole model file on the CPU; raises ModelError for any other bytes.

    Everything that bytes can tell is checked before onnxruntime gets them.
    """
    manifest = checked_manifest(model_bytes)
    opening = Opening(num_threads=None if num_threads is None else 1)
    engine = Engine(ON_CPU, lambda _: open_session(model_bytes, opening))
    return Encoder(manifest, engine, num_threads)


def checked_manifest(model_bytes: bytes) -> Manifest:
    """The manifest of a model file, once all that its bytes can tell has been checked."""
    onnxruntime_flavour()
    manifest = model.read_manifest(model_bytes)
    found = model.encoder_id(model_bytes)
    if found != manifest.encoder_id:
        raise ModelError(
            f"the model's graph has the id {found[:12]}, its manifest says "
            f"{manifest.encoder_id[:12]}: the file is damaged; copy it again"
        )
    require_graph(model_bytes, manifest.input, manifest.embedding_dim)
    return manifest


def open_encoder(path: Path, num_threads: int | None = None) -> Encoder:
    """The encoder of a model file, after its golden check on this machine.

    Raises ModelError when the file is absent, unreadable or fails the check.
    """
    return check_encoder(read_model(path), path, num_threads)


def read_model(path: Path) -> bytes:
    """The whole file; raises ModelError when there is none, or none that could be a model."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise ModelError(f"the model {path} is no ordinary file; give an .onnx file")
        with path.open("rb") as file:
            model_bytes = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ModelError(
            f"cannot read the model {path}: {error.strerror}; "
            "give the .onnx file that `fancl-export RUN --onnx FILE` wrote"
        ) from error
    if not model_bytes:
        raise ModelError(f"the model {path} is empty (zero bytes); copy it again")
    if len(model_bytes) > _MAX_FILE_BYTES:
        raise ModelError(f"the model {path} is larger than 2 GB, which no ONNX file can be")
    return model_bytes


def check_encoder(model_bytes: bytes, path: Path, num_threads: int | None = None) -> Encoder:
    """The encoder of the bytes read from `path`, after its golden check on this machine."""
    try:
        encoder = encoder_of(model_bytes, num_threads)
        require_golden(encoder)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    return encoder


def require_golden(encoder: Encoder) -> None:
    """Raises ModelError where this machine computes other embeddings than the exporter's."""
    check = encoder.check_golden()
    if not check.passed:
        raise ModelError(
            "the model gives other embeddings here than where it was exported (cosine "
            f"{check.worst_cosine:.5f}, needs {check.min_cosine}): this machine's onnxruntime "
            "does not compute it rightly; update onnxruntime or export the model again"
        )


def _require_embeddings(emb_ND: NDArray[Any], shape: tuple[int, int], what: str) -> None:
    """Raises ModelError unless these are finite float32 rows of length 1."""
    if emb_ND.dtype != np.float32 or emb_ND.shape != shape:
        raise ModelError(
            f"the model's {what}: {emb_ND.dtype} {list(emb_ND.shape)} instead of float32 "
            f"{list(shape)}; export it again"
        )
    if not np.isfinite(emb_ND).all():
        raise ModelError(f"the model's {what}: numbers that are not finite; export it again")
    lengths = np.linalg.norm(emb_ND, axis=1)
    if len(lengths) and np.abs(lengths - 1).max() > _LENGTH_TOLERANCE:
        worst = lengths[np.abs(lengths - 1).argmax()]
        raise ModelError(
            f"the model's {what}: an embedding of length {worst:.4g} instead of 1; export it again"
        )
