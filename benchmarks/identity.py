"""Who is it, on real animals: open set, whether stated rates are true, the gallery's doctor.

    python benchmarks/identity.py --data FOLDER --runs FOLDER --out benchmarks/results/identity

Trains nothing: --runs holds SET-free and SET-supervised (or the names that bench-quality leaves),
and the frozen encoder is the start of the label-free run. Query and gallery rows share no event;
where a set names no encounters every picture is an event of its own. Embeddings are computed once
and kept; one row a finished run, so that the command goes on where it stopped. The plain form
takes 3 seeds, `--full` 5 and the thresholds of the models, which need all training crops.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import identity_open
import identity_promise
import numpy as np
import torch
import typer
from identity_open import Crops
from numpy.typing import NDArray
from runs import cell, read, write

import trainer.data
from edge import media
from edge.calibrate import fit_statistic
from edge.clusters import FILE_NAME, OUTLIER, read_clusters
from edge.decide import Thresholds
from edge.decoding.quality import measure
from edge.pictures import Picture, read_collection
from edge.preprocess import InputSpec, crop
from trainer.data import load_crops
from trainer.evaluation.candidate import Candidate, open_candidate

RUNS = {
    "holstein": {"label-free": "holstein-fancl-bursts", "supervised": "holstein-supervised"},
    "opencows": {"label-free": "opencows-cc", "supervised": "opencows-supervised"},
}
ENCODERS = ("label-free", "supervised", "frozen")
OPEN = (
    "set", "encoder", "seed", "way", "statistic", "rank1", "wrong", "strangers_named", "ghosts",
    "review", "baks", "baus", "geometric", "count_error", "wrong_at_10%", "wrong_at_20%",
    "wrong_at_40%",
)  # fmt: skip
PROMISE = (
    "set", "encoder", "seed", "wanted", "promised", "review", "true_review",
    *(f"{name}_{end}" for name in identity_promise.RATES
      for end in ("low", "high", "true", "inside")),
    "why",
)  # fmt: skip
DOCTOR = (
    "set", "encoder", "seed", "labels_found", "labels_false", "duplicates_found",
    "duplicates_false",
)  # fmt: skip


def main(
    data: Annotated[Path, typer.Option(help="Folder with one folder a set, each a metadata.csv.")],
    runs: Annotated[Path, typer.Option(help="Folder with finished runs.")],
    out: Annotated[Path, typer.Option(help="Folder for the tables and the embeddings.")],
    full: Annotated[
        bool, typer.Option("--full", help="5 seeds, and the models' thresholds.")
    ] = False,
) -> None:
    """Measure, sum up."""
    out.mkdir(parents=True, exist_ok=True)
    for set_name in RUNS:
        for encoder in ENCODERS:
            run = _run_of(runs, set_name, encoder)
            if run is None or not (data / set_name).is_dir():
                print(f"{set_name}, {encoder}: left out, its run or its pictures are not there")
                continue
            _measure(data / set_name, run, out, (set_name, encoder), full)
    text = _open_table(read(out / "open_set.csv")) + _promise_table(read(out / "rates.csv"))
    text += _doctor_table(read(out / "doctor.csv"))
    (out / "table.md").write_text(text, encoding="utf-8")
    print(text)


def _run_of(runs: Path, set_name: str, encoder: str) -> Path | None:
    name = RUNS[set_name].get(encoder, RUNS[set_name]["label-free"])
    file = runs / name / ("start.safetensors" if encoder == "frozen" else "encoder.safetensors")
    return file if file.is_file() else None


def _measure(data: Path, run: Path, out: Path, key: tuple[str, str], full: bool) -> None:
    crops = _embedded(data, run, out / f"{key[0]}-{key[1]}.npz", train=False)
    of_model = _of_model(data, run, out, key) if full else None
    seeds = range(5 if full else 3)
    _grow(out / "open_set.csv", OPEN, key, seeds,
          lambda seed: identity_open.trial(crops, seed, of_model))  # fmt: skip
    _grow(out / "rates.csv", PROMISE, key, seeds,
          lambda seed: identity_promise.halves(crops, seed))  # fmt: skip
    if key == ("holstein", "supervised"):
        _grow(out / "doctor.csv", DOCTOR, key, range(5),
              lambda seed: [identity_promise.doctor(crops, seed)])  # fmt: skip


def _grow(
    table: Path,
    columns: tuple[str, ...],
    key: tuple[str, str],
    seeds: range,
    measure_one: Callable[[int], list[dict[str, str]]],
) -> None:
    """Adds the rows of the seeds that are missing."""
    for seed in seeds:
        rows = read(table)
        if any((row["set"], row["encoder"], row["seed"]) == (*key, str(seed)) for row in rows):
            continue
        head = {"set": key[0], "encoder": key[1], "seed": str(seed)}
        new = [dict.fromkeys(columns, "") | head | row for row in measure_one(seed)]
        write(table, columns, [*rows, *new])
        print(f"{table.stem}: {key[0]}, {key[1]}, seed {seed}", flush=True)


def _embedded(data: Path, run: Path, file: Path, train: bool) -> Crops:
    if not file.is_file():
        candidate = open_candidate(str(run), None, None, torch.device("cpu"))
        _embed(data, candidate, file, train)
    with np.load(file) as kept:
        return Crops(**{name: kept[name] for name in kept.files})


def _embed(data: Path, candidate: Candidate, file: Path, train: bool) -> None:
    crops, quality_N = _read_set(data, candidate.spec, train)
    pictures = [fact.picture for fact in crops.facts]
    temporary = file.with_suffix(".tmp.npz")
    np.savez(
        temporary,
        emb_ND=candidate.embed(crops.images_NHWC),
        quality_N=quality_N,
        identity_N=np.array([one.identity for one in pictures]),
        event_N=np.array([f"{one.identity} {one.encounter or one.name}" for one in pictures]),
        split_N=np.array([one.split for one in pictures]),
    )
    temporary.replace(file)


@functools.lru_cache(maxsize=2)
def _read_set(
    data: Path, spec: InputSpec, train: bool
) -> tuple[trainer.data.Crops, NDArray[np.float64]]:
    """Decoded once for all encoders, which is much of this benchmark's time."""
    collection = read_collection(data)
    kept = tuple(one for one in collection.pictures if (one.split == "train") == train)
    crops = load_crops(dataclasses.replace(collection, pictures=kept), spec, None)
    return crops, np.array([_quality(fact.picture) for fact in crops.facts])


def _quality(picture: Picture) -> float:
    frame = media.decode(media.read_bytes(picture.path))
    return measure(crop(frame.image_HWC, picture.box), picture.box).of_crop


def _of_model(data: Path, run: Path, out: Path, key: tuple[str, str]) -> Thresholds | None:
    """As export fits them: on training crops by label, or by the groups that training made."""
    if key[1] == "frozen":
        return None
    crops = _embedded(data, run, out / f"{key[0]}-{key[1]}-train.npz", train=True)
    if key[1] == "supervised":
        return fit_statistic(identity_open.reference_of(crops), "similarity", "labels")
    kept = [one for one in read_collection(data).pictures if one.split == "train"]
    label_of = {row.path.name: row.pseudo_label for row in read_clusters(run.parent / FILE_NAME)}
    labels: NDArray[np.int64] = np.array([label_of.get(one.path.name, OUTLIER) for one in kept])
    inside = labels != OUTLIER
    grouped = dataclasses.replace(
        crops.of(inside),
        identity_N=labels[inside].astype(str),
        event_N=np.char.add(labels[inside].astype(str), crops.event_N[inside]),
    )
    return fit_statistic(identity_open.reference_of(grouped), "similarity", "pseudo-labels")


def _open_table(rows: list[dict[str, str]]) -> str:
    columns = [one for one in OPEN if one not in {"set", "encoder", "seed", "way", "statistic"}]
    lines = [
        "| set | encoder | way | " + " | ".join(columns) + " |",
        "|---|---|---|" + "---|" * len(columns),
    ]
    keys = dict.fromkeys((row["set"], row["encoder"], row["way"]) for row in rows)
    for key in keys:
        own = [row for row in rows if (row["set"], row["encoder"], row["way"]) == key]
        cells = [cell(own, column, 100, 1) for column in columns]
        lines.append("| " + " | ".join([*key, *cells]) + " |")
    return "\n".join(lines) + "\n\n"


def _promise_table(rows: list[dict[str, str]]) -> str:
    lines = [
        "| set | encoder | wanted | promised | inside: strangers, misnamed, ghosts |",
        "|---|---|---|---|---|",
    ]
    for key in dict.fromkeys((row["set"], row["encoder"], row["wanted"]) for row in rows):
        own = [row for row in rows if (row["set"], row["encoder"], row["wanted"]) == key]
        inside = [
            f"{sum(row[f'{name}_inside'] == '1' for row in own)}" for name in identity_promise.RATES
        ]
        promised = sum(row["promised"] == "1" for row in own)
        lines.append(f"| {' | '.join(key)} | {promised} of {len(own)} | {', '.join(inside)} |")
    return "\n".join(lines) + "\n\n"


def _doctor_table(rows: list[dict[str, str]]) -> str:
    columns = DOCTOR[3:]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines.append("| " + " | ".join(cell(rows, column, 100, 0) for column in columns) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
