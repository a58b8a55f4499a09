"""How long a crop's search takes, beside a frame and beside other ways; memory and load time.

    python benchmarks/search.py --out benchmarks/results/search

Three parts, each a row of search.json; ways that are compared take turns, medians count:

- frame: 10,000 exemplars of width 2048; one crop and 32 crops, by this project's search, by faiss
  in float32 and by a numpy product. Beside it a frame of 12 megapixels: decoded at a quarter,
  resized, embedded by a ResNet-50 of 256x128 pixels in float32. Processor time of one thread.
- load: the same gallery in a database, opened by a process of its own: seconds and memory.
- large: 100,000 exemplars of width 512 (1,000,000 with --full) by index and one by one: recall,
  times, building, memory and loading.

Embeddings are drawn with the spreads of real ones (drawn_embeddings.py). Recall is asked of new
pictures of enrolled animals and of strangers.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import cv2
import faiss
import numpy as np
import onnxruntime
import typer
from drawn_embeddings import draw_crops, draw_gallery, draw_pictures
from numpy.typing import NDArray

from edge import media, preprocess
from edge.calibrate import DEFAULT
from edge.decoding.header import read_header
from edge.gallery import search_index
from edge.gallery.gallery import Gallery
from edge.gallery.search import Search
from edge.identity.votes import NEAREST_ANIMALS
from edge.preprocess import InputSpec
from edge.record import store_gallery
from edge.record.store import now, open_reader, open_store

ENCODER = "b" * 64
ROUNDS = 15
MANY = 32
CROPS_SEEDS = (4, 13, 14)  # not 3, 5 or 6: the index was chosen on those


def main(
    out: Annotated[Path, typer.Option(help="Folder for search.json.")],
    full: Annotated[bool, typer.Option(help="1,000,000 exemplars instead of 100,000.")] = False,
    only: Annotated[str | None, typer.Option(help="One part: frame, load or large.")] = None,
) -> None:
    """Measure the parts, print and write."""
    if "OPENBLAS_NUM_THREADS" not in os.environ:  # as edge-watch has it, before numpy is loaded
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    cv2.setNumThreads(1)
    out.mkdir(parents=True, exist_ok=True)
    table = out / "search.json"
    result: dict[str, Any] = json.loads(table.read_text()) if table.is_file() else {}
    size = 1_000_000 if full else search_index.MIN_EXEMPLARS
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "frame": frame_part,
        "load": lambda: load_part(10_000, 2048),
        f"large {size}": lambda: apart(large_part, size, 512),
    }
    for name, part in parts.items():
        if only is None or name.startswith(only):
            result[name] = {"machine": machine(), **part()}
            table.write_text(json.dumps(result, indent=1), encoding="utf-8")
            print(name, json.dumps(result[name], indent=1), flush=True)


def apart(part: Callable[..., dict[str, Any]], *words: Any) -> dict[str, Any]:
    """In a process of its own, which holds nothing that a device does not have (PyTorch)."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(part, *words).result()


def machine() -> dict[str, Any]:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith(("model name", "Model"))
    ]
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "faiss": faiss.__version__,
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


# --- a frame


def frame_part() -> dict[str, Any]:
    emb_MD, own_M, animals_AD = draw_gallery(10_000, 2048)
    rng = np.random.default_rng(1)
    asked = rng.integers(0, len(animals_AD), MANY)
    crops_ND = draw_pictures(rng, animals_AD, asked)
    sides_N = np.zeros(MANY, np.int64)
    ours = Search(list(emb_MD), own_M, np.zeros(len(own_M), np.int64), 2048)
    flat = faiss.IndexFlatIP(2048)
    wide_MD = ours.unit_rows()
    flat.add(wide_MD)
    turn = iter(range(10**9))

    def crop() -> NDArray[np.float32]:
        return crops_ND[next(turn) % MANY][None]

    ways = {
        "frame": frame(),
        "one crop, this search": lambda: ours.nearest(crop(), sides_N[:1], NEAREST_ANIMALS),
        "a visit of three crops, this search": lambda: ours.nearest(
            np.concatenate([crop(), crop(), crop()]), sides_N[:3], NEAREST_ANIMALS
        ),
        "one crop, faiss float32, 12 exemplars": lambda: flat.search(crop(), 12),
        "one crop, numpy float32, all animals": lambda: by_numpy(wide_MD, own_M, crop()),
        "32 crops, this search, together": lambda: ours.nearest(crops_ND, sides_N, NEAREST_ANIMALS),
        "32 crops, this search, one by one": lambda: [
            ours.nearest(crops_ND[[one]], sides_N[:1], NEAREST_ANIMALS) for one in range(MANY)
        ],
        "32 crops, faiss float32": lambda: flat.search(crops_ND, 12),
    }
    ms, ratios = in_turns(ways)
    one = "one crop, this search"
    return {
        "exemplars": 10_000,
        "width": 2048,
        "ms": ms,
        "search of a lone crop / frame": ratios(one, "frame"),
        "search of a crop of three / frame": round(
            ratios("a visit of three crops, this search", "frame") / 3, 4
        ),
        "faiss float32 / search": ratios("one crop, faiss float32, 12 exemplars", one),
        "one by one / together": ratios(
            "32 crops, this search, one by one", "32 crops, this search, together"
        ),
    }


def frame() -> Callable[[], object]:
    """A picture of 12 megapixels from bytes to an embedding, on one thread."""
    from export.graph import to_onnx
    from trainer.backbone import load_backbone
    from trainer.encoder import Encoder

    spec = InputSpec(height=256, width=128, resize="squash", pad_value=0)
    loaded = load_backbone("resnet50", "none", spec.height, spec.width)
    graph = to_onnx(Encoder(loaded.spec, loaded.module).eval(), spec)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(2)
    scene = cv2.resize(rng.integers(0, 256, (375, 500, 3), np.uint8), (4000, 3000))
    scene = np.clip(scene + rng.normal(0, 6, scene.shape), 0, 255).astype(np.uint8)
    jpeg = cv2.imencode(".jpg", scene, [cv2.IMWRITE_JPEG_QUALITY, 87])[1].tobytes()

    def once() -> object:
        image_HWC = media.decode_stored(jpeg, read_header(jpeg), 4)
        return session.run(None, {"images": preprocess.resize(image_HWC, spec)[None]})

    return once


def by_numpy(
    wide_MD: NDArray[np.float32], own_M: NDArray[np.int64], crop_1D: NDArray[np.float32]
) -> NDArray[np.int64]:
    best_I = np.full(own_M.max() + 1, -np.inf, np.float32)
    np.maximum.at(best_I, own_M, wide_MD @ crop_1D[0])
    return np.argpartition(-best_I, NEAREST_ANIMALS)[:NEAREST_ANIMALS]


def in_turns(
    ways: dict[str, Callable[[], object]],
) -> tuple[dict[str, float], Callable[[str, str], float]]:
    """Median milliseconds of processor time of each, and the median of ratios within rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = time.process_time()
            way()
            seconds[name].append(time.process_time() - began)

    def ratio(one: str, other: str) -> float:
        pairs = zip(seconds[one], seconds[other], strict=True)
        return round(statistics.median(a / b for a, b in pairs), 4)

    return {name: _ms(statistics.median(values)) for name, values in seconds.items()}, ratio


# --- memory and load time


def load_part(num_exemplars: int, width: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        emb_ND, own_N, _ = draw_gallery(num_exemplars, width)
        fill(Path(folder), emb_ND, own_N)
        del emb_ND
        return apart(load, Path(folder), width)


def fill(folder: Path, emb_ND: NDArray[np.float16], own_N: NDArray[np.int64]) -> None:
    """A database with this gallery, without its log and crops."""
    store = open_store(folder / "edge.db")
    moment = now()
    with store.transaction(keeps_people=False):
        store.execute_many(
            "INSERT INTO individual (individual_id, name, own_name, provisional, status, "
            "merged_into, current_id, created_at) VALUES (?1, ?1, ?1, 0, 'living', NULL, ?1, ?2)",
            ((f"animal {one:08}", moment) for one in range(int(own_N.max()) + 1)),
        )
        store.execute_many(
            "INSERT INTO exemplar (exemplar_id, individual_id, sha256, display, x, y, width, "
            "height, flank, encounter, captured_at, crop, observation_id, created_at) "
            "VALUES (?1, ?2, ?3, ?1, 0, 0, 1, 1, 'unknown', NULL, NULL, ?3, NULL, ?4)",
            (
                (_id(row), f"animal {own:08}", hashlib.sha256(b"%d" % row).hexdigest(), moment)
                for row, own in enumerate(own_N)
            ),
        )
        store.execute_many(
            "INSERT INTO exemplar_embedding (exemplar_id, encoder_id, embedding) VALUES (?, ?, ?)",
            ((_id(row), ENCODER, emb_D.tobytes()) for row, emb_D in enumerate(emb_ND)),
        )
    store.close()


def load(folder: Path, width: int) -> dict[str, Any]:
    """Opening the database's gallery, as `open_gallery` does it for a model, in this process."""
    before = status_mb("VmRSS")
    began, worked = time.perf_counter(), time.process_time()
    store = open_reader(folder / "edge.db")
    exemplars = store_gallery.exemplars(store, ENCODER)
    store.close()
    read = time.perf_counter()
    index = search_index.load(folder, ENCODER, width)
    gallery = Gallery(exemplars, width, DEFAULT, index)
    del exemplars
    done = time.perf_counter()
    answer = gallery.search(np.eye(1, width, dtype=np.float32), ["unknown"])
    return {
        "exemplars": len(gallery),
        "width": width,
        "found": len(answer.individual_ids),
        "seconds": round(done - began, 2),
        "of these reading the database": round(read - began, 2),
        "processor seconds": round(time.process_time() - worked, 2),
        "MB before": before,
        "MB after": status_mb("VmRSS"),
        "MB at most": status_mb("VmHWM"),
        "advice": gallery.advice,
    }


def status_mb(key: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) // 1024
    raise KeyError(key)


# --- a large gallery


def large_part(num_exemplars: int, width: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        emb_MD, own_M, animals_AD = draw_gallery(num_exemplars, width)
        fill(folder, emb_MD, own_M)
        rows = list(emb_MD)
        began, worked = time.perf_counter(), time.process_time()
        built = search_index.update(
            None, rows, width, len(os.sched_getaffinity(0)), lambda number: None
        )
        result: dict[str, Any] = {
            "exemplars": num_exemplars,
            "width": width,
            "directions": search_index.NUM_DIRECTIONS,
            "cells": round(search_index.CELLS_PER_ROOT * num_exemplars**0.5),
            "building, seconds": round(time.perf_counter() - began),
            "building, processor seconds": round(time.process_time() - worked),
        }
        began = time.perf_counter()
        file = search_index.save(built.index, folder, ENCODER)
        result["writing, seconds"] = round(time.perf_counter() - began, 1)
        result["file, MB"] = file.stat().st_size // 10**6
        result |= compare(rows, own_M, animals_AD, built.index)
        del emb_MD, rows, built
        result["load"] = apart(load, folder, width)
        return result


def compare(
    rows: Sequence[NDArray[np.float16]],
    own_M: NDArray[np.int64],
    animals_AD: NDArray[np.float32],
    index: Any,
) -> dict[str, Any]:
    """Recall and speed of the index against comparing with every exemplar."""
    width = animals_AD.shape[1]
    sides_M = np.zeros(len(own_M), np.int64)
    flat = Search(rows, own_M, sides_M, width)
    by_index = Search(rows, own_M, sides_M, width, index)
    crops = [draw_crops(animals_AD, seed) for seed in CROPS_SEEDS]
    side_1 = np.zeros(1, np.int64)
    turn = iter(range(10**9))
    crops_ND = np.concatenate(crops[0])

    def ask(where: Search, num: int) -> Callable[[], object]:
        def asked() -> None:
            for _ in range(num):
                crop_1D = crops_ND[next(turn) * 7 % len(crops_ND)][None]
                where.nearest(crop_1D, side_1, NEAREST_ANIMALS)

        return asked

    ms, ratios = in_turns(
        {
            "a visit of ten crops, by index": ask(by_index, 10),
            "a visit of ten crops, one by one": ask(flat, 10),
            "one crop, by index": ask(by_index, 1),
            "one crop, one by one": ask(flat, 1),
        }
    )
    return {
        "ms": ms,
        "exact / index, a visit": ratios(
            "a visit of ten crops, one by one", "a visit of ten crops, by index"
        ),
        "exact / index, one crop after other work": ratios(
            "one crop, one by one", "one crop, by index"
        ),
        "found": {
            f"seed {seed}": {
                "known": recall(flat, by_index, known),
                "strangers": recall(flat, by_index, strangers),
            }
            for seed, (known, strangers) in zip(CROPS_SEEDS, crops, strict=True)
        },
    }


def recall(flat: Search, by_index: Search, crops_ND: NDArray[np.float32]) -> dict[str, float]:
    """How often the index gives what comparing with all gives."""
    first, second, six = [], [], []
    for start in range(0, len(crops_ND), MANY):
        part = crops_ND[start : start + MANY]
        exact = flat.nearest(part, np.zeros(len(part), np.int64), NEAREST_ANIMALS)
        for row, crop_D in enumerate(part):
            found = by_index.nearest(crop_D[None], np.zeros(1, np.int64), NEAREST_ANIMALS)
            order = np.argsort(-exact.similarity_NC[row], kind="stable")[:NEAREST_ANIMALS]
            true = exact.individual_C[order].tolist()
            fast = found.individual_C[np.argsort(-found.similarity_NC[0], kind="stable")].tolist()
            first.append(true[:1] == fast[:1])
            second.append(true[:2] == fast[:2])
            six.append(true == fast)
    return {
        "nearest": float(np.mean(first)),
        "nearest two": float(np.mean(second)),
        "all six": float(np.mean(six)),
    }


def _id(row: int) -> str:
    return f"picture {row:08}"


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)


if __name__ == "__main__":
    typer.run(main)
