"""Time and memory of clustering many pictures; one CSV row a finished size, resumable.

    python benchmarks/clustering.py --out benchmarks/results/clustering

Embeddings are drawn, width 1280, from seed 0: 15 pictures an animal in bursts of three near-
duplicates. An animal is a point in 48 dimensions, a burst strays 0.75 of the spread of animals
from it, a picture 0.15 from its burst; a random map lifts them to the full width, where noise of
0.1 is added. Bursts come in random order. Animals overlap, the more the more there are.

Every size is measured in a process of its own: seconds on the wall, and the peak of resident
memory above what stood after drawing. At 2,000 pictures the labels are compared with those of
full matrices. Needs Linux for the memory.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from runs import read, write
from sklearn.cluster import DBSCAN
from sklearn.metrics import adjusted_rand_score

from trainer.clustering import dbscan
from trainer.jaccard import distances_from_weights, encode
from trainer.neighbours import nearest

WIDTH, SEED = 1280, 0
K1, K2, EPS, MIN_SAMPLES = 30, 6, 0.5, 4
DENSE_SIZE = 2_000  # full matrices take seconds up to here
SIZES = (DENSE_SIZE, 20_000, 50_000)


@dataclass(frozen=True, kw_only=True)
class Row:
    num_pictures: int
    num_threads: int
    search_seconds: float
    encode_seconds: float
    jaccard_seconds: float
    dbscan_seconds: float
    ratio: float  # of the last three together to the search
    peak_gb: float  # above the embeddings, 10^9 bytes
    weights_per_picture: float  # entries of V
    distances_per_picture: float  # entries of the result
    num_clusters: int
    outlier_share: float
    ari: float  # adjusted Rand index against the drawn animals
    dense_seconds: float | None  # search included
    labels_as_dense: bool | None


COLUMNS = [field.name for field in dataclasses.fields(Row)]


@dataclass(frozen=True, kw_only=True)
class Clustered:
    label_N: NDArray[np.int64]
    search: float  # seconds, as are the next three
    encode: float
    jaccard: float
    dbscan: float
    num_weights: int
    num_distances: int


def main(
    out: Annotated[Path, typer.Option(help="Folder for clustering.csv.")],
) -> None:
    """Measure the sizes that are not in the table yet, and print it."""
    out.mkdir(parents=True, exist_ok=True)
    table = out / "clustering.csv"
    rows = read(table)
    for size in SIZES:
        if str(size) in {row["num_pictures"] for row in rows}:
            continue
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
            row = fresh.submit(measure, size).result()
        rows.append({name: str(value) for name, value in dataclasses.asdict(row).items()})
        write(table, COLUMNS, rows)
    _show(rows)


def draw(num_pictures: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Embeddings [N, WIDTH] and the animal of each; see the module's first lines."""
    rng = np.random.default_rng(SEED)
    burst_N = np.arange(num_pictures) // 3
    animal_N = rng.permutation(burst_N[-1] + 1)[burst_N] // 5
    lift = rng.standard_normal((48, WIDTH), np.float32) / np.float32(WIDTH**0.5)
    animals = rng.standard_normal((animal_N.max() + 1, 48), np.float32)
    bursts = animals[animal_N[::3]] + 0.75 * rng.standard_normal((burst_N[-1] + 1, 48), np.float32)
    points = bursts[burst_N] + 0.15 * rng.standard_normal((num_pictures, 48), np.float32)
    emb_ND = points @ lift
    emb_ND += (0.1 / WIDTH**0.5) * rng.standard_normal(emb_ND.shape, np.float32)
    emb_ND /= np.linalg.norm(emb_ND, axis=1, keepdims=True)
    return emb_ND, animal_N


def measure(num_pictures: int) -> Row:
    """One size: times, memory, what came out, and the dense version where it is small."""
    _cluster(draw(500)[0])  # what libraries load and set up once is no part of it
    emb_ND, animal_N = draw(num_pictures)
    resident = _restart_peak()
    found = _cluster(emb_ND)
    peak = _status_bytes("VmHWM") - resident
    dense_seconds = labels_as_dense = None
    if num_pictures <= DENSE_SIZE:
        dense_N, seconds = _timed(lambda: dense_labels(emb_ND))
        dense_seconds = round(seconds, 2)
        labels_as_dense = bool((dense_N == found.label_N).all())
    return Row(
        num_pictures=num_pictures,
        num_threads=torch.get_num_threads(),
        search_seconds=round(found.search, 2),
        encode_seconds=round(found.encode, 2),
        jaccard_seconds=round(found.jaccard, 2),
        dbscan_seconds=round(found.dbscan, 2),
        ratio=round((found.encode + found.jaccard + found.dbscan) / found.search, 3),
        peak_gb=round(peak / 1e9, 3),
        weights_per_picture=round(found.num_weights / num_pictures, 1),
        distances_per_picture=round(found.num_distances / num_pictures, 1),
        num_clusters=int(found.label_N.max()) + 1,
        outlier_share=round(float((found.label_N < 0).mean()), 4),
        ari=round(float(adjusted_rand_score(animal_N, found.label_N)), 3),
        dense_seconds=dense_seconds,
        labels_as_dense=labels_as_dense,
    )


def _cluster(emb_ND: NDArray[np.float32]) -> Clustered:
    neighbours_NK, search = _timed(lambda: nearest(emb_ND, max(K1, K2)))
    weights, encoding = _timed(lambda: encode(emb_ND, neighbours_NK, K1, K2))
    distances, jaccard = _timed(lambda: distances_from_weights(weights))
    label_N, clustering = _timed(lambda: dbscan(distances, EPS, MIN_SAMPLES))
    return Clustered(
        label_N=label_N,
        search=search,
        encode=encoding,
        jaccard=jaccard,
        dbscan=clustering,
        num_weights=weights.nnz,
        num_distances=distances.nnz,
    )


def dense_labels(emb_ND: NDArray[np.float32]) -> NDArray[np.int64]:
    """The same from full matrices, one row at a time where the definition speaks of sets."""
    similarity = emb_ND @ emb_ND.T
    np.fill_diagonal(similarity, np.inf)
    order = np.argsort(-similarity, axis=1, kind="stable")
    rank = np.argsort(order, axis=1)
    full, half = (rank < K1) & (rank.T < K1), (rank < K1 // 2 + 1) & (rank.T < K1 // 2 + 1)
    np.fill_diagonal(similarity, 1.0)
    weights = np.zeros_like(similarity)
    for i in range(len(emb_ND)):
        members = full[i].copy()
        for j in np.flatnonzero(full[i]):
            if 3 * (half[j] & full[i]).sum() > 2 * half[j].sum():
                members |= half[j]
        weights[i, members] = np.exp(2.0 * similarity[i, members] - 2.0)
        weights[i] /= weights[i].sum()
    weights = np.stack([weights[row[:K2]].mean(axis=0) for row in order])
    shared = np.stack([np.minimum(row, weights).sum(axis=1) for row in weights])
    distances = np.maximum(1.0 - shared / (2.0 - shared), 0.0)
    return DBSCAN(eps=EPS, min_samples=MIN_SAMPLES, metric="precomputed").fit(distances).labels_


def _timed(stage: Callable[[], Any]) -> tuple[Any, float]:
    begin = time.perf_counter()
    return stage(), time.perf_counter() - begin


def _restart_peak() -> int:
    """Resident bytes now; VmHWM counts from here."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status_bytes("VmRSS")


def _status_bytes(key: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def _show(rows: list[dict[str, str]]) -> None:
    by_size = {int(row["num_pictures"]): row for row in rows}
    for name in COLUMNS:
        cells = [by_size[size][name] for size in sorted(by_size)]
        print(f"{name:24}" + "".join(f"{cell.replace('None', '-'):>10}" for cell in cells))
    if DENSE_SIZE in by_size:
        print(f"labels equal those of full matrices: {by_size[DENSE_SIZE]['labels_as_dense']}")
    if 20_000 in by_size:
        print(f"20,000: {by_size[20_000]['ratio']} of the search (at most 2.5)", end=", ")
        print(f"{by_size[20_000]['peak_gb']} GB above the embeddings (at most 1)")
    if {20_000, 50_000} <= set(by_size):
        growth = _seconds_after_search(by_size[50_000]) / _seconds_after_search(by_size[20_000])
        print(f"20,000 to 50,000: {growth:.2f} times the seconds after the search (at most 3)")


def _seconds_after_search(row: dict[str, str]) -> float:
    return sum(float(row[f"{stage}_seconds"]) for stage in ("encode", "jaccard", "dbscan"))


if __name__ == "__main__":
    typer.run(main)
