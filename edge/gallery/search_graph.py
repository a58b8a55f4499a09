"""A graph through a large gallery, which leads to the exemplars near a crop without seeing all.

Built once, at a moment somebody chooses, as it takes minutes; kept in the state folder as a file
that may be deleted at any time. Its name holds the encoder and the digest of its bytes: what is
not whole or not of this encoder is not used. What was enrolled since is compared one by one until
it is added; what the gallery no longer holds is skipped.
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
from edge.gallery.search_list import blocks, codes_of, widen
from edge.record.disk import space
from edge.record.state import rename_file

MIN_EXEMPLARS = 100_000  # below, comparing with all of them is quick enough (decision 0012)
NUM_LINKS = 32  # of an exemplar to others, twice as many at the bottom (decision 0012)
BREADTH = 40  # candidates while an exemplar is linked in
_MAX_GONE = 0.2  # share of exemplars the gallery no longer holds; beyond, built anew
_BLOCK = 4096
_DIGEST_BYTES = 1 << 22
_GROUP_STRIDE = np.uint64(0x9E3779B97F4A7C15)
Advance = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Update:
    graph: Any
    num_added: int
    num_gone: int  # skipped, as the gallery no longer holds them
    is_new: bool  # built from nothing


def load(folder: Path, encoder_id: str, embedding_dim: int) -> Any:
    """The encoder's graph, or None where there is no whole one."""
    for file in sorted(folder.glob(f"{_stem(encoder_id)}-*.faiss")):
        if file.stem.rpartition("-")[2] == _digest(file):
            graph = faiss.read_index(str(file))
            if graph.d == embedding_dim:
                return graph
    return None


def rows_of(graph: Any, embeddings: Sequence[NDArray[np.float16]]) -> NDArray[np.int64]:
    """The row of `embeddings` that each position of the graph is; -1 where it is none.

    Equal embeddings take positions in turn.
    """
    codes_PD = codes_of(faiss.downcast_index(graph.storage))
    row_P = np.full(len(codes_PD), -1, np.int64)
    _, positions, rows = np.intersect1d(
        _keys(codes_PD), _keys(embeddings), assume_unique=True, return_indices=True
    )
    row_P[positions] = rows
    return row_P


def update(
    graph: Any,
    embeddings: Sequence[NDArray[np.float16]],
    embedding_dim: int,
    num_threads: int,
    advance: Advance,
) -> Update:
    """The graph with all embeddings in it; `graph` is changed, or None to build one."""
    rest, num_gone = np.arange(len(embeddings)), 0
    if graph is not None:
        row_P = rows_of(graph, embeddings)
        num_gone = int((row_P < 0).sum())
        if num_gone > _MAX_GONE * len(row_P):
            graph = None
        else:
            rest = np.setdiff1d(rest, row_P)
    is_new = graph is None
    graph = _empty(embedding_dim) if is_new else graph
    faiss.omp_set_num_threads(num_threads)
    try:
        for block in blocks(len(rest), _BLOCK):
            graph.add(widen(np.stack([embeddings[row] for row in rest[block].tolist()])))
            advance(block.stop - block.start)
    finally:
        faiss.omp_set_num_threads(1)
    return Update(
        graph=graph, num_added=len(rest), num_gone=0 if is_new else num_gone, is_new=is_new
    )


def save(graph: Any, folder: Path, encoder_id: str) -> Path:
    """Whole or not at all; graphs before it go. Raises StateError."""
    temporary = folder / f"{_stem(encoder_id)}.tmp"
    try:
        faiss.write_index(graph, str(temporary))
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
    """Graphs of all encoders, but for one."""
    for file in folder.glob("search-*.faiss"):
        if file != keep:
            file.unlink()


def _empty(embedding_dim: int) -> Any:
    kind = f"HNSW{NUM_LINKS}_SQfp16"
    graph: Any = faiss.index_factory(embedding_dim, kind, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = BREADTH
    graph.is_trained = True  # float16 has nothing to learn
    return graph


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
