"""The encoder of a model file, run by onnxruntime: crops in, embeddings out.

Also the exporter's parity check and `fancl-eval model.onnx` go through here, so what is checked
is what a device runs. Does not cover accelerators: it runs on the CPU.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge import model
from edge.errors import InstallError, ModelError
from edge.model import Manifest
from edge.preprocess import Image, resize

_BATCH = 64  # bounds memory; onnxruntime gains under 5 % from more on a CPU


@dataclass(frozen=True, kw_only=True)
class GoldenCheck:
    worst_cosine: float
    min_cosine: float

    @property
    def passed(self) -> bool:
        return self.worst_cosine >= self.min_cosine


class Encoder:
    """An open model file. `open_encoder` is the way to get one."""

    def __init__(self, model_bytes: bytes, num_threads: int | None = None) -> None:
        """Raises ModelError when the file is not a model of this format or does not load."""
        require_one_onnxruntime()
        self.manifest: Manifest = model.read_manifest(model_bytes)
        found = model.encoder_id(model_bytes)
        if found != self.manifest.encoder_id:
            raise ModelError(
                f"the model's graph has the id {found[:12]}, its manifest says "
                f"{self.manifest.encoder_id[:12]}: the file is damaged; copy it again"
            )
        self._session = _open_session(model_bytes, num_threads)

    def embed(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Unit-length float32 [N, D] of resized uint8 crops [N, H, W, 3]."""
        spec = self.manifest.input
        if images_NHWC.shape[1:] != (spec.height, spec.width, 3):
            raise ValueError(f"crops of shape {images_NHWC.shape[1:]}, the model takes {spec}")
        parts = [
            np.asarray(
                self._session.run(
                    [model.OUTPUT_NAME], {model.INPUT_NAME: images_NHWC[start : start + _BATCH]}
                )[0]
            )
            for start in range(0, len(images_NHWC), _BATCH)
        ]
        if not parts:
            return np.zeros((0, self.manifest.embedding_dim), np.float32)
        return np.concatenate(parts)

    def embed_crops(self, crops: list[Image]) -> NDArray[np.float32]:
        """Unit-length float32 [N, D] of crops of any size."""
        spec = self.manifest.input
        if not crops:
            return np.zeros((0, self.manifest.embedding_dim), np.float32)
        return self.embed(np.stack([resize(crop, spec) for crop in crops]))

    def check_golden(self) -> GoldenCheck:
        """How well this machine reproduces the embeddings the exporter saw."""
        images, expected = model.unpack_golden(self.manifest.golden)
        cosines = np.sum(self.embed(images) * expected, axis=1)
        return GoldenCheck(
            worst_cosine=float(cosines.min()), min_cosine=self.manifest.golden.min_cosine
        )


def open_encoder(path: Path, num_threads: int | None = None) -> Encoder:
    """The encoder of a model file, after its golden check on this machine.

    Raises ModelError when the file is absent, unreadable or fails the check.
    """
    try:
        model_bytes = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"cannot read the model {path}: {error.strerror}; "
            "give the .onnx file that `fancl-export RUN --onnx FILE` wrote"
        ) from error
    if not model_bytes:
        raise ModelError(f"the model {path} is empty (zero bytes); copy it again")
    try:
        encoder = Encoder(model_bytes, num_threads)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    check = encoder.check_golden()
    if not check.passed:
        raise ModelError(
            f"{path} gives other embeddings here than where it was exported (cosine "
            f"{check.worst_cosine:.5f}, needs {check.min_cosine}): this machine's onnxruntime "
            "does not compute it rightly; update onnxruntime or export the model again"
        )
    return encoder


def require_one_onnxruntime() -> None:
    """Raises InstallError when both flavours of onnxruntime, or none, are installed."""
    flavours = [name for name in ("onnxruntime", "onnxruntime-gpu") if _is_installed(name)]
    if len(flavours) == 2:
        raise InstallError(
            "both onnxruntime and onnxruntime-gpu are installed and overwrite each other; run "
            "`pip uninstall -y onnxruntime onnxruntime-gpu`, then install the one you need again: "
            "`pip install onnxruntime` (any device) or `pip install onnxruntime-gpu` (NVIDIA)"
        )
    if not flavours:
        raise InstallError("onnxruntime is not installed; run `pip install 'fancl[edge]'`")


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _open_session(model_bytes: bytes, num_threads: int | None):  # type: ignore[no-untyped-def]
    import onnxruntime  # here, so that `--help` and both-flavours errors come before it loads

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if num_threads is not None:
        options.intra_op_num_threads = num_threads
    try:
        session = onnxruntime.InferenceSession(
            model_bytes, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime raises classes of its own, with no common base
        raise ModelError(f"onnxruntime cannot load the model: {error}") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if [one.name for one in inputs] != [model.INPUT_NAME] or inputs[0].type != "tensor(uint8)":
        raise ModelError(f"the model must have one uint8 input named {model.INPUT_NAME}")
    if [one.name for one in outputs] != [model.OUTPUT_NAME]:
        raise ModelError(f"the model must have one output named {model.OUTPUT_NAME}")
    return session
