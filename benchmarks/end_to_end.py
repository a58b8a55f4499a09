"""The whole of `edge-watch --once` against other ways to the same answers, and the ceiling.

    python benchmarks/end_to_end.py --out benchmarks/results/end-to-end --peers FOLDER

A folder of drawn photos of 12 megapixels; a gallery; each program from its start to its end, in
turns: plain Pillow and torch, wildlife-tools, bare cv2 and onnxruntime calls (the ceiling), ours.
edge-watch's start counts; that of the others does not. Writes end_to_end.json after every round
and prints the table. FOLDER holds wildlife-tools (`make bench` puts it there); without it that
column is left out. `--full` takes more photos and rounds, and goes on after the last round that
the same program finished there.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import cv2
import machine
import numpy as np
import typer
from ceiling import Arrangement
from finished_rounds import digest_of, finished_rounds
from machine import ratio, write_json
from photos import Photos, draw_small, make_photos
from speed_models import MODELS, SpeedModel, make_file
from speed_table import WANTED, ratios, table

from edge.decoding.decoder import Wanted, scale_for
from edge.detect import WHOLE_FRAME_ANIMAL
from edge.model import read_manifest

HERE = Path(__file__).parent
_RIVAL_PHOTOS = {"plain": 32, "wildlife-tools": 64}  # two batches of the latter
_ARRANGEMENTS = (Arrangement.processes, Arrangement.threads)
_CEILING_SHARE = 2  # of the photos: the ceiling has no start to make up for
_KNOWN = (12, 4)  # animals, pictures of each
_NUM_PHOTOS = {  # what takes about twenty seconds on two cores
    "resnet50 fp32": 320, "resnet50 int8": 600, "mobilenet fp32": 800, "vit-b-16 int8": 200,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """One model file with what is measured for it; milliseconds a photo, one a round."""

    chosen: SpeedModel
    precision: str
    path: Path
    template: Path  # a state folder with the gallery enrolled
    known: Path  # the same number of rows for the others
    num_photos: int
    arrangements: list[Arrangement] = field(default_factory=lambda: list(_ARRANGEMENTS))
    times: dict[str, list[float]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.chosen.name} {self.precision}"

    def add(self, name: str, value: float) -> None:
        self.times.setdefault(name, []).append(value)


@dataclass(frozen=True, kw_only=True)
class Extras:
    """Of one case: with boxes, beside a busy core, with the state folder in memory."""

    times: dict[str, list[float]]  # milliseconds a photo

    def add(self, name: str, ran: machine.Ran, num: int) -> None:
        self.times.setdefault(name, []).append(1000 * ran.seconds / num)

    @property
    def num_rounds(self) -> int:
        return len(self.times.get("alone", []))

    @property
    def busy_loss(self) -> float:
        """The share of its throughput that a busy core takes away."""
        return 1 - 1 / ratio(self.times["busy core"], self.times["alone"])

    def words(self) -> str:
        disk = ratio(self.times["alone"], self.times["state in memory"])
        boxes = statistics.median(self.times["boxes"])
        return (
            f"one core kept busy by another program takes {100 * self.busy_loss:.0f} % of the "
            f"throughput (at most 60 %)\nsyncs to the disk of the state folder cost "
            f"{100 * (1 - 1 / disk):.0f} % of the time\nwith boxes: {boxes:.1f} ms a photo"
        )


@dataclass(frozen=True, kw_only=True)
class Bench:
    out: Path
    photos: Photos
    peers: Path | None

    def inbox(self, num: int) -> Path:
        """The first photos, as links."""
        folder = self.out / "inboxes" / str(num)
        for path in self.photos.paths[:num]:
            link = folder / path.relative_to(self.photos.folder)
            if not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                os.link(path, link)
        return folder


def main(
    out: Annotated[Path, typer.Option(help="Folder for photos, models and figures.")],
    peers: Annotated[Path | None, typer.Option(help="Folder that holds wildlife-tools.")] = None,
    rounds: Annotated[int, typer.Option(help="Rounds, each with all programs in turn.")] = 3,
    only: Annotated[str | None, typer.Option(help="One case, such as 'resnet50 int8'.")] = None,
    share: Annotated[float, typer.Option(help="Of the photos of the default form.")] = 1.0,
    full: Annotated[bool, typer.Option("--full", help="Three times the photos, 7 rounds.")] = False,
) -> None:
    """Measure, write, print."""
    if full:
        rounds, share = 7, 3.0
    cv2.setNumThreads(1)
    machine.adopt_orphans()
    described = machine.describe()
    numbers = {name: max(int(share * num), 32) for name, num in _NUM_PHOTOS.items()}
    print(f"drawing {max(numbers.values())} photos ...", flush=True)
    photos = make_photos(out / "photos", 1, 72, max(numbers.values()))
    bench = Bench(out=out, photos=photos, peers=peers if peers and peers.is_dir() else None)
    cases = [
        _case(bench, chosen, precision, numbers)
        for chosen in MODELS
        for precision in chosen.precisions
        if only in (None, f"{chosen.name} {precision}")
    ]
    extras = Extras(times={})
    form = {"program": digest_of(HERE.parent / "edge"), "share": share, "rounds": rounds}
    labels = [case.label for case in cases]
    done = finished_rounds(out / "end_to_end.json", form, labels) if full else None
    if done:
        for case in cases:
            case.times.update(done.times[case.label])
        extras.times.update(done.extras)
        print(f"{extras.num_rounds} of {rounds} rounds were finished before", flush=True)
    for number in range(extras.num_rounds, rounds):
        for case in cases:
            print(f"round {number + 1} of {rounds}: {case.label}", flush=True)
            _round(bench, case)
        _extra_round(bench, cases[min(1, len(cases) - 1)], extras)
        content = _content(described, bench, cases, extras)
        write_json(out / "end_to_end.json", {"form": form, **content})
    shown = table({case.label: case.times for case in cases}, WANTED)
    print(f"\n{shown}\n\n{extras.words()}\n\nfigures: {out / 'end_to_end.json'}")


def _case(bench: Bench, chosen: SpeedModel, precision: str, numbers: dict[str, int]) -> Case:
    path = make_file(chosen, precision, bench.out / "models")
    dim = read_manifest(path.read_bytes()).embedding_dim
    rng = np.random.default_rng(0)
    known_MD = rng.standard_normal((_KNOWN[0] * _KNOWN[1], dim)).astype(np.float32)
    known = path.with_suffix(".npy")
    np.save(known, known_MD / np.linalg.norm(known_MD, axis=1, keepdims=True))
    animals = bench.out / "animals"
    draw_small(animals, *_KNOWN)
    template = bench.out / "states" / path.stem
    if not template.is_dir():
        print(f"enrolling {_KNOWN[0]} animals with {path.stem} ...", flush=True)
        machine.run(
            [
                machine.script("edge-gallery"),
                "enroll",
                animals,
                "--model",
                path,
                "--state",
                template,
            ]
        )
    # As on a device that has been started before: its graph and its thresholds are kept.
    nothing = bench.out / "inboxes" / "0"
    nothing.mkdir(parents=True, exist_ok=True)
    machine.run(
        [machine.script("edge-watch"), nothing, "--once", "--model", path, "--state", template]
    )
    num_photos = numbers[f"{chosen.name} {precision}"]
    return Case(
        chosen=chosen, precision=precision, path=path, template=template, known=known,
        num_photos=num_photos,
    )  # fmt: skip


def _round(bench: Bench, case: Case) -> None:
    """Every program once; the order turns, so that none always comes first."""
    programs: list[Callable[[], None]] = [
        lambda: _ceiling(bench, case),
        lambda: _edge(bench, case),
        lambda: _rival(bench, case, "plain"),
    ]
    if bench.peers and case.chosen.name == "resnet50":
        programs.append(lambda: _rival(bench, case, "wildlife-tools"))
    first = len(case.times.get("edge", [])) % len(programs)
    for program in programs[first:] + programs[:first]:
        program()


def _edge(bench: Bench, case: Case) -> None:
    """Milliseconds a photo with the start, and beside it the start: a run over one photo."""
    alone = watch(bench, case, 1)
    ran = watch(bench, case, case.num_photos)
    case.add("edge", 1000 * ran.seconds / case.num_photos)
    case.add("edge start", 1000 * alone.seconds)
    rest = case.num_photos - 1
    case.add("edge without start", 1000 * (ran.seconds - alone.seconds) / rest)
    cpu_seconds = ran.cpu_seconds - alone.cpu_seconds
    case.add("edge cpu without start", 1000 * cpu_seconds / rest)


def watch(
    bench: Bench, case: Case, num: int, *words: object, state: Path | None = None
) -> machine.Ran:
    """`edge-watch --once` over so many photos, with a fresh copy of the state folder."""
    state = state or bench.out / "state"
    shutil.rmtree(state, ignore_errors=True)
    shutil.copytree(case.template, state)
    ran = machine.run(
        [machine.script("edge-watch"), bench.inbox(num), "--once", "--model", case.path,
         "--state", state, *words]
    )  # fmt: skip
    if f"{num} new frame" not in ran.output or "0 quarantined" not in ran.output:
        print(f"edge-watch did not record {num} photos:\n{ran.output}")
        raise typer.Exit(1)
    shutil.rmtree(state)
    return ran


def _ceiling(bench: Bench, case: Case) -> None:
    """Of the arrangements with processes and with threads the one that was faster at first."""
    found = {
        one: _program("ceiling.py", case, bench, case.num_photos // _CEILING_SHARE, None,
                      "--model", case.path, "--scale", _scale(case), "--arrangement", one.value)
        for one in case.arrangements
    }  # fmt: skip
    fastest = min(found, key=lambda one: found[one]["seconds"])
    case.arrangements[:] = [fastest]
    best = found[fastest]
    case.add("ceiling", best["seconds"])
    case.add("ceiling cpu", best["cpu_seconds"])


def _rival(bench: Bench, case: Case, name: str) -> None:
    # As many threads as torch takes by itself, whatever this shell says.
    environment = {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0)))}
    if bench.peers and name == "wildlife-tools":
        paths = [os.environ.get("PYTHONPATH", ""), str(bench.peers)]
        environment["PYTHONPATH"] = os.pathsep.join(one for one in paths if one)
    num_photos = min(_RIVAL_PHOTOS[name], case.num_photos)
    case.add(
        name,
        _program("rivals.py", case, bench, num_photos, environment, name,
                 "--model", case.chosen.name)["seconds"],
    )  # fmt: skip


def _program(
    name: str,
    case: Case,
    bench: Bench,
    num: int,
    environment: dict[str, str] | None,
    *words: object,
) -> dict[str, float]:
    """Milliseconds a photo, as the program itself says."""
    photos = bench.photos.paths[:num]
    ran = machine.run(
        [sys.executable, HERE / name, *words, "--gallery", case.known, *photos], environment
    )
    told = json.loads(ran.output.splitlines()[-1])
    return {
        name: 1000 * float(told[name]) / int(told["num_photos"])
        for name in ("seconds", "cpu_seconds")
        if name in told
    }


def _scale(case: Case) -> int:
    """What edge-watch takes for a whole photo."""
    wanted = Wanted(spec=case.chosen.spec, objects=(WHOLE_FRAME_ANIMAL,), look_side=None)
    return scale_for(wanted, 4000, 3000)


def _extra_round(bench: Bench, case: Case, extras: Extras) -> None:
    num = max(case.num_photos // 4, 16)
    extras.add("alone", watch(bench, case, num), num)
    with _busy_core():
        extras.add("busy core", watch(bench, case, num), num)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        in_memory = watch(bench, case, num, state=Path(memory) / "state")
        extras.add("state in memory", in_memory, num)
    extras.add("boxes", watch(bench, case, num, "--boxes", bench.photos.boxes), num)


@contextmanager
def _busy_core() -> Iterator[None]:
    """Another program that keeps one core busy."""
    core = min(os.sched_getaffinity(0))
    words = f"import os; os.sched_setaffinity(0, [{core}])\nwhile True: pass"
    hog = subprocess.Popen([sys.executable, "-c", words])
    try:
        yield
    finally:
        hog.kill()
        hog.wait()


def _content(
    described: dict[str, Any], bench: Bench, cases: list[Case], extras: Extras
) -> dict[str, Any]:
    return {
        "machine": described,
        "photos": {
            "number": len(bench.photos.paths),
            "megabytes": round(bench.photos.mean_megabytes, 2),
            "pixels": "4000x3000",
        },
        "milliseconds_a_photo": {case.label: {"photos": case.num_photos, **case.times}
                                 for case in cases},
        "ratios": {case.label: ratios(case.times) for case in cases},
        "wanted": WANTED,
        "extras": {**extras.times, "busy_core_loss": extras.busy_loss},
    }  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
