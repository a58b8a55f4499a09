"""An index of a large gallery, which leads to the exemplars near a crop without seeing all.

Exemplars are seen along their main directions only, parted into cells and rounded to four bits a
direction; a crop is compared with those in the cells nearest to it, and the best of these anew with
all their numbers (edge/gallery/search_list.py). Built once, at a moment somebody chooses; kept in
the state folder as a file that may be deleted at any time. Its name holds the encoder and the
digest of its bytes: what is not whole, not of this encoder or not of this form is not used. What
was enrolled since is compared one by one until it is added; what the gallery no longer holds is
skipped.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from edge.errors import StateError
from edge.gallery.search_list import blocks, widen
from edge.record.disk import space
from edge.record.state import rename_file

MIN_EXEMPLARS = 100_000  # below, comparing with all of them is quick enough (decision 0012)
NUM_DIRECTIONS = 80  # enough to list the nearest by (decision 0012)
CELLS_PER_ROOT = 2.0  # cells for the root of the number of exemplars
_SAMPLED_PER_CELL = 96
_SAMPLED_FOR_DIRECTIONS = 50_000
_SAMPLED_FOR_STEPS = 50_000
_ROUNDS = 16  # of k-means
# Of a normal distribution, in standard deviations: the 16 values that round it with the smallest
# squared error (Max, 1960, table I).
_HALF = (0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733)
_STEPS = np.array([*(-one for one in reversed(_HALF)), *_HALF])
_MAX_GONE = 0.2  # share of exemplars the gallery no longer holds; beyond, built anew
_BLOCK = 4096
_DIGEST_BYTES = 1 << 22
_GROUP_STRIDE = np.uint64(0x9E3779B97F4A7C15)
Advance = Callable[[int], None]
_faiss: Any = faiss  # its type stubs lack some of its classes


@dataclass(frozen=True, kw_only=True)
class Update:
    index: Any
    num_added: int
    num_gone: int  # skipped, as the gallery no longer holds them
    is_new: bool  # built from nothing


def load(folder: Path, encoder_id: str, embedding_dim: int) -> Any:
    """The encoder's index, or None where there is no whole one."""
    for file in sorted(folder.glob(f"{_stem(encoder_id)}-*.faiss")):
        if file.stem.rpartition("-")[2] == _digest(file):
            index = faiss.read_index(str(file))
            if _has_form(index) and index.d == embedding_dim:
                return index
    return None


def _has_form(index: Any) -> bool:
    """Whether it is built as here; those of a former program were not."""
    if not isinstance(index, _faiss.IndexIDMap):
        return False
    turned = faiss.downcast_index(index.index)
    return isinstance(turned, _faiss.IndexPreTransform) and isinstance(
        faiss.downcast_index(turned.index), _faiss.IndexIVFPQFastScan
    )


def rows_of(index: Any, embeddings: Sequence[NDArray[np.float16]]) -> NDArray[np.int64]:
    """The row of `embeddings` that each position of the index is; -1 where it is none.

    Equal embeddings take positions in turn.
    """
    key_P = faiss.vector_to_array(index.id_map).view(np.uint64)
    row_P = np.full(len(key_P), -1, np.int64)
    _, positions, rows = np.intersect1d(
        key_P, _keys(embeddings), assume_unique=True, return_indices=True
    )
    row_P[positions] = rows
    return row_P


def update(
    index: Any,
    embeddings: Sequence[NDArray[np.float16]],
    embedding_dim: int,
    num_threads: int,
    advance: Advance,
) -> Update:
    """The index with all embeddings in it; `index` is changed, or None to build one."""
    rest, num_gone = np.arange(len(embeddings)), 0
    if index is not None:
        row_P = rows_of(index, embeddings)
        num_gone = int((row_P < 0).sum())
        if num_gone > _MAX_GONE * len(row_P):
            index = None
        else:
            rest = np.setdiff1d(rest, row_P)
    is_new = index is None
    key_M = _keys(embeddings).view(np.int64)
    faiss.omp_set_num_threads(num_threads)
    try:
        if is_new:
            index = _trained(embeddings, embedding_dim)
        for block in blocks(len(rest), _BLOCK):
            rows = rest[block]
            index.add_with_ids(_wide(embeddings, rows), key_M[rows])
            advance(len(rows))
    finally:
        faiss.omp_set_num_threads(1)
    return Update(
        index=index, num_added=len(rest), num_gone=0 if is_new else num_gone, is_new=is_new
    )


def save(index: Any, folder: Path, encoder_id: str) -> Path:
    """Whole or not at all; indexes before it go. Raises StateError."""
    temporary = folder / f"{_stem(encoder_id)}.tmp"
    try:
        faiss.write_index(index, str(temporary))
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:  # RuntimeError is faiss's
        temporary.unlink(missing_ok=True)
        left = space(folder)
        free = f"{left.free_bytes // 2**20} MB" if left else "unknown"
        raise StateError(
            "other",
            f"the search index cannot be written to {folder} (free space: {free}): {error}. Make "
            "room and run it again; without it searching is slower and finds the same",
        ) from error
    target = folder / f"{_stem(encoder_id)}-{_digest(temporary)}.faiss"
    rename_file(temporary, target)
    remove(folder, keep=target)
    return target


def remove(folder: Path, keep: Path | None = None) -> None:
    """Indexes of all encoders, but for one."""
    for file in folder.glob("search-*.faiss"):
        if file != keep:
            file.unlink()


def _trained(embeddings: Sequence[NDArray[np.float16]], embedding_dim: int) -> Any:
    """Directions, cells and steps, of a sample of the embeddings, with nothing in them."""
    order = np.random.default_rng(0).permutation(len(embeddings))
    directions = _directions(_wide(embeddings, order[:_SAMPLED_FOR_DIRECTIONS]))
    num = len(directions)
    num_cells = min(max(round(CELLS_PER_ROOT * len(embeddings) ** 0.5), 1), len(embeddings))
    sample_SK = np.concatenate(
        [
            _wide(embeddings, order[block]) @ directions.T
            for block in blocks(min(_SAMPLED_PER_CELL * num_cells, len(order)), _BLOCK)
        ]
    )
    cells: Any = faiss.index_factory(
        num, f"IVF{num_cells},PQ{num}x4fsr", faiss.METRIC_INNER_PRODUCT
    )
    centres_CK = _centres(sample_SK, num_cells)
    cells.quantizer.add(centres_CK)
    steps = _steps(sample_SK[:_SAMPLED_FOR_STEPS], cells.quantizer, centres_CK)
    faiss.copy_array_to_vector(steps.ravel(), cells.pq.centroids)
    cells.is_trained = True
    turn = _faiss.LinearTransform(embedding_dim, num, False)
    faiss.copy_array_to_vector(directions.ravel(), turn.A)
    turn.is_trained = True
    return _faiss.IndexIDMap(_faiss.IndexPreTransform(turn, cells))


def _directions(emb_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    """Those along which lengths from the origin are largest, as products are what is compared."""
    _, vectors_DK = np.linalg.eigh(emb_ND.T @ emb_ND)
    return np.ascontiguousarray(vectors_DK[:, ::-1][:, :NUM_DIRECTIONS].T)


def _centres(sample_SK: NDArray[np.float32], num_cells: int) -> NDArray[np.float32]:
    kmeans: Any = faiss.Kmeans(
        sample_SK.shape[1],
        num_cells,
        niter=_ROUNDS,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=_SAMPLED_PER_CELL,
    )
    kmeans.train(sample_SK)
    return np.asarray(kmeans.centroids)


def _steps(
    sample_SK: NDArray[np.float32], cells: Any, centres_CK: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The 16 values that a number is rounded to along each direction: [K, 16]. What is rounded is
    the way from a cell's centre."""
    _, cell_S1 = cells.search(sample_SK, 1)
    away_SK = sample_SK - centres_CK[cell_S1[:, 0]]
    steps = away_SK.mean(axis=0)[:, None] + away_SK.std(axis=0)[:, None] * _STEPS
    return np.asarray(steps, np.float32)


def _wide(
    embeddings: Sequence[NDArray[np.float16]], rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    return widen(np.stack([embeddings[row] for row in rows.tolist()]))


def _stem(encoder_id: str) -> str:
    return f"search-{encoder_id[:16]}"


def _digest(file: Path) -> str:
    sha = hashlib.sha256()
    with file.open("rb") as opened:
        while part := opened.read(_DIGEST_BYTES):
            sha.update(part)
    return sha.hexdigest()


def _keys(
    embeddings: Sequence[NDArray[np.float16]] | NDArray[np.float16],
) -> NDArray[np.uint64]:
    """A number for each, another one for each of several equal ones."""
    digests = b"".join(
        hashlib.blake2b(np.ascontiguousarray(emb_D).tobytes(), digest_size=8).digest()
        for emb_D in embeddings
    )
    key_M = np.frombuffer(digests, np.uint64)
    order = np.argsort(key_M, kind="stable")
    turn = np.arange(len(key_M)) - np.searchsorted(key_M[order], key_M[order])
    keys: NDArray[np.uint64] = key_M.copy()
    keys[order] += turn.astype(np.uint64) * _GROUP_STRIDE
    return keys
