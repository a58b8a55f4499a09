"""Label-free and supervised training on real animals, beside what was there before training.

    python benchmarks/quality.py --data FOLDER --weights FOLDER --out benchmarks/results/quality

One row a finished run in runs.csv; a run that is there already is not repeated, so the command
goes on where it stopped. Every row of a set shares weights, input size, steps, batch and
evaluator; figures are those of the last epoch on the query and gallery rows. `--full` takes all
sets, methods and seeds, the plain form one set and one seed.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from runs import cell, command, read, require_folders, weights_file, write

SIZE, EPOCHS = "128x128", 10
METHODS: dict[str, list[str]] = {
    "cluster-contrast": ["--method", "cluster-contrast", "--bursts", "off"],
    "fancl": ["--method", "fancl", "--bursts", "off"],
    "fancl + bursts": ["--method", "fancl", "--bursts", "column"],
    "supervised": ["--method", "supervised"],
}
CONTROLS = {"random": "random weights", "frozen": "frozen"}  # our name, how fancl-eval begins its
COLUMNS = (
    "set", "method", "seed", "mAP", "rank1", "queries", "largest_share", "ari", "minutes",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Set:
    """A data set of the comparison."""

    name: str
    backbone: str
    iterations: int  # an epoch
    has_bursts: bool
    seeds: int  # in the full form


SETS = (
    Set(name="opencows", backbone="mobilenetv2_035", iterations=20, has_bursts=False, seeds=2),
    Set(name="holstein", backbone="mobilenetv2_100", iterations=20, has_bursts=True, seeds=2),
    Set(name="nyala", backbone="mobilenetv2_035", iterations=20, has_bursts=True, seeds=2),
    Set(name="lion", backbone="mobilenetv2_035", iterations=20, has_bursts=False, seeds=1),
)


@dataclass(frozen=True, kw_only=True)
class Job:
    of: Set
    method: str
    seed: int


def main(
    data: Annotated[Path, typer.Option(help="Folder with one folder a set, each a metadata.csv.")],
    weights: Annotated[Path, typer.Option(help="Folder with BACKBONE*.safetensors.")],
    out: Annotated[Path, typer.Option(help="Folder for runs.csv, table.md and the runs.")],
    full: Annotated[bool, typer.Option("--full", help="All sets, methods and seeds.")] = False,
    only: Annotated[
        str | None,
        typer.Option(help="One set; several commands may then fill one table side by side."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the run directories.")] = False,
) -> None:
    """Train, evaluate, sum up."""
    require_folders(data, weights)
    out.mkdir(parents=True, exist_ok=True)
    table = out / "runs.csv"
    rows = read(table)
    done = {(row["set"], row["method"], row["seed"]) for row in rows}
    todo = [
        job
        for job in _jobs(full)
        if (job.of.name, job.method, str(job.seed)) not in done and only in (None, job.of.name)
    ]
    for number, job in enumerate(todo, start=1):
        print(f"{number}/{len(todo)}: {job.of.name}, {job.method}, seed {job.seed}", flush=True)
        have = {(row["set"], row["method"]) for row in rows}
        new = _run(job, data, weights, out, have, keep)
        rows = [*read(table), *new]
        write(table, COLUMNS, rows)
    text = _table(rows)
    (out / "table.md").write_text(text, encoding="utf-8")
    print(text)


def _jobs(full: bool) -> Iterator[Job]:
    """The first seed of everything before the second of anything."""
    sets = SETS if full else SETS[:1]
    for seed in range(1, max(one.seeds for one in sets) + 1 if full else 2):
        for one in sets:
            for method in METHODS:
                if seed <= one.seeds and (one.has_bursts or "bursts" not in method):
                    yield Job(of=one, method=method, seed=seed)


def _run(
    job: Job, data: Path, weights: Path, out: Path, have: set[tuple[str, str]], keep: bool
) -> list[dict[str, str]]:
    """The row of a run; with the first run of a set also those of its controls."""
    began = time.monotonic()
    run = out / f"{job.of.name}-{job.method.replace(' ', '')}-{job.seed}"
    table = data / job.of.name / "metadata.csv"
    file = weights_file(weights, job.of.backbone)
    command(
        "fancl-train", table, "--out", run, "--backbone", job.of.backbone, "--weights", file,
        "--size", SIZE, "--epochs", EPOCHS, "--iterations", job.of.iterations,
        "--seed", job.seed, "--precision", "fp32", *METHODS[job.method],
    )  # fmt: skip
    label_free = job.method != "supervised"
    asked = ["--pseudo-labels"] if label_free else []
    figures = json.loads(command("fancl-eval", run, table, "--json", *asked))
    epochs = read(run / "metrics.csv")
    shares = [float(row["largest_share"]) for row in epochs if row.get("largest_share")]
    row = {
        "set": job.of.name,
        "method": job.method,
        "seed": str(job.seed),
        "mAP": f"{figures['mAP']:.4f}",
        "rank1": f"{figures['rank1']:.4f}",
        "queries": str(figures["queries"]),
        "largest_share": f"{max(shares):.3f}" if shares else "",
        "ari": f"{figures['pseudo_labels']['ari']:.3f}" if label_free else "",
        "minutes": f"{(time.monotonic() - began) / 60:.1f}",
    }
    controls = [
        _control(job, name, figures["controls"], begins)
        for name, begins in CONTROLS.items()
        if (job.of.name, name) not in have
    ]
    if not keep:
        shutil.rmtree(run)
    return [*controls, row]


def _control(
    job: Job, name: str, controls: dict[str, dict[str, float]], begins: str
) -> dict[str, str]:
    figures = next(value for key, value in controls.items() if key.startswith(begins))
    row = dict.fromkeys(COLUMNS, "") | {"set": job.of.name, "method": name}
    return row | {
        "mAP": f"{figures['mAP']:.4f}",
        "rank1": f"{figures['rank1']:.4f}",
        "queries": str(int(figures["queries"])),
    }


def _table(rows: list[dict[str, str]]) -> str:
    lines = [
        "| set | method | seeds | mAP | rank-1 | largest cluster | ARI | minutes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in SETS:
        for method in (*CONTROLS, *METHODS):
            own = [row for row in rows if (row["set"], row["method"]) == (one.name, method)]
            if own:
                lines.append(_line(one.name, method, own))
    return "\n".join(lines) + "\n"


def _line(name: str, method: str, rows: list[dict[str, str]]) -> str:
    shares = [float(row["largest_share"]) for row in rows if row["largest_share"]]
    cells = [
        name,
        method,
        str(len(rows)),
        cell(rows, "mAP", 100, 1),
        cell(rows, "rank1", 100, 1),
        f"{max(shares):.0%}" if shares else "",
        cell(rows, "ari", 1, 2),
        cell(rows, "minutes", 1, 1),
    ]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    typer.run(main)
