"""How the demo fares over many pairs of seeds; one CSV row a finished pair, resumable.

    python benchmarks/demo_seeds.py --out benchmarks/results/demo --pairs 10 --first 101

World seeds count up from `--first`, training seeds from `--first` + 1000. A pair that is already
in the CSV is not run again. The project's own bar for the demo is printed beside the figures.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Annotated

import typer
from runs import read, write

from trainer.demo import Score, run_demo

_COLUMNS = [field.name for field in dataclasses.fields(Score)]


def main(
    out: Annotated[Path, typer.Option(help="Folder for scores.csv and the runs under way.")],
    pairs: Annotated[int, typer.Option(min=1, help="Number of seed pairs.")] = 10,
    first: Annotated[int, typer.Option(min=0, help="First world seed.")] = 101,
    keep: Annotated[bool, typer.Option(help="Keep each pair's world and run.")] = False,
) -> None:
    """Run the demo on several pairs of seeds and sum up."""
    out.mkdir(parents=True, exist_ok=True)
    table = out / "scores.csv"
    rows = read(table)
    done = {(row["world_seed"], row["train_seed"]) for row in rows}
    for pair in range(pairs):
        world_seed, train_seed = first + pair, first + 1000 + pair
        if (str(world_seed), str(train_seed)) in done:
            continue
        folder = out / f"{world_seed}-{train_seed}"
        shutil.rmtree(folder, ignore_errors=True)  # of a pair that was interrupted
        score = run_demo(folder, world_seed, train_seed)
        rows.append({key: str(value) for key, value in dataclasses.asdict(score).items()})
        write(table, _COLUMNS, rows)
        if not keep:
            shutil.rmtree(folder)
    _sum_up(rows)


def _sum_up(rows: list[dict[str, str]]) -> None:
    def column(name: str) -> list[float]:
        return [100 * float(row[name]) for row in rows]

    gain = [a - b for a, b in zip(column("rank1"), column("rank1_untrained"), strict=True)]
    right, named = column("named_right"), column("stranger_named")
    print(f"{len(rows)} pairs of seeds (in %)")
    for what, values, bar in (
        ("rank-1 over untrained", gain, "mean >= 30, each >= 15"),
        ("known animals rightly named", right, "mean >= 60, each >= 50"),
        ("strangers given a known name", named, "mean <= 20, each <= 30"),
    ):
        mean = sum(values) / len(values)
        print(f"{what:30} mean {mean:5.1f}  from {min(values):5.1f} to {max(values):5.1f}  ({bar})")
    minutes = [float(row["minutes"]) for row in rows]
    print(f"{'minutes':30} mean {sum(minutes) / len(minutes):5.1f}  to {max(minutes):.1f}")


if __name__ == "__main__":
    typer.run(main)
