"""How fast this machine could be: bare calls of cv2, onnxruntime and faiss, and nothing else.

    python benchmarks/ceiling.py --model resnet50.int8.onnx --gallery known.npy --scale 4 PHOTO ...

A process a core, each by one thread: read, reduced decode, area resampling, embed, search. No
record, no check, no crop, no limit. Threads in one process and two threads an embedding are
slower; `--arrangement` measures them. Prints JSON; the seconds begin when all processes are ready.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Annotated, Any

import cv2
import faiss
import numpy as np
import onnxruntime
import typer

_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


class Arrangement(str, enum.Enum):
    processes = "processes"  # a process a core, one thread each
    threads = "threads"  # a thread a core in one process, one thread an embedding
    intra_op = "intra-op"  # one after the other, all cores an embedding


def main(
    photos: Annotated[list[Path], typer.Argument()],
    model: Annotated[Path, typer.Option()],
    gallery: Annotated[Path, typer.Option()],
    scale: Annotated[int, typer.Option()] = 4,
    arrangement: Annotated[Arrangement, typer.Option()] = Arrangement.processes,
) -> None:
    """Measure one arrangement."""
    num_cores = len(os.sched_getaffinity(0))
    if arrangement is Arrangement.processes:
        took = _in_processes(photos, (model, gallery, scale, 1), num_cores)
    else:
        num_threads = num_cores if arrangement is Arrangement.intra_op else 1
        work = _worker(model, gallery, scale, num_threads)
        work(photos[0])
        with ThreadPoolExecutor(num_cores // num_threads) as pool:
            began = _Took(seconds=time.perf_counter(), cpu_seconds=time.process_time())
            list(pool.map(work, photos))
            took = _Took(
                seconds=time.perf_counter() - began.seconds,
                cpu_seconds=time.process_time() - began.cpu_seconds,
            )
    print(json.dumps({"num_photos": len(photos), **dataclasses.asdict(took)}))


@dataclass(frozen=True, kw_only=True)
class _Took:
    seconds: float
    cpu_seconds: float  # of all processes


def _in_processes(photos: list[Path], settings: tuple[Any, ...], num: int) -> _Took:
    context = get_context("spawn")
    barrier, position = context.Barrier(num + 1), context.Value("i", 0)
    cpu = context.Value("d", 0.0)
    workers = [
        context.Process(target=_process, args=(photos, settings, barrier, position, cpu))
        for _ in range(num)
    ]
    for one in workers:
        one.start()
    barrier.wait()
    began = time.perf_counter()
    barrier.wait()
    seconds = time.perf_counter() - began
    for one in workers:
        one.join()
    return _Took(seconds=seconds, cpu_seconds=cpu.value)


def _process(
    photos: list[Path], settings: tuple[Any, ...], barrier: Barrier, position: Any, cpu: Any
) -> None:
    """Takes the next photo until there is none."""
    work = _worker(*settings)
    work(photos[0])
    barrier.wait()
    began = time.process_time()
    while True:
        with position.get_lock():
            number = position.value
            position.value += 1
        if number >= len(photos):
            break
        work(photos[number])
    with cpu.get_lock():
        cpu.value += time.process_time() - began
    barrier.wait()


def _worker(model: Path, gallery: Path, scale: int, num_threads: int) -> Callable[[Path], int]:
    cv2.setNumThreads(1)
    faiss.omp_set_num_threads(1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    size = (taken.shape[2], taken.shape[1])
    known_MD = np.load(gallery)
    index = faiss.IndexFlatIP(known_MD.shape[1])
    index.add(known_MD)
    flags = _REDUCED[scale] | cv2.IMREAD_IGNORE_ORIENTATION

    def work(path: Path) -> int:
        image = cv2.imdecode(np.fromfile(path, np.uint8), flags)
        assert image is not None
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        rgb_NHWC = cv2.cvtColor(small, cv2.COLOR_BGR2RGB)[None]
        (emb_ND,) = session.run(None, {taken.name: rgb_NHWC})
        _, nearest = index.search(emb_ND, 5)
        return int(nearest[0, 0])

    return work


if __name__ == "__main__":
    typer.run(main)
