"""The paper's ablations on real animals: the rows of its Table II, and the grid of its Fig. 3.

    python benchmarks/ablation.py --data FOLDER --weights FOLDER --out benchmarks/results/ablation

One seed, pictures alone (no bursts), every row with the same weights, input size, steps and
evaluator; last epoch. Small pictures and few epochs: a row is minutes on a CPU. One row a
finished run in runs.csv; the command goes on where it stopped.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated

import typer
from runs import command, read, weights_file, write

COLUMNS = ("part", "row", "mAP", "rank1", "rank5", "rank10")
OFF = {
    "cluster": ["--set", "loss.consistency_cluster=off"],
    "instance": ["--set", "loss.consistency_instance=off"],
}
TABLE_II = {
    "none": [*OFF["cluster"], *OFF["instance"]],
    "cluster level": OFF["instance"],
    "instance level": OFF["cluster"],
    "both": [],
}
FIG_3 = {
    f"{layer} {area:.0%}": ["--set", f"fana.layer={layer}", "--set", f"fana.area={area}"]
    for layer in ("conv", "bn")
    for area in (0.0, 0.05, 0.10, 0.15, 0.20)
}
SAME = {"both": ("Fig. 3", "conv 10%"), "bn 0%": ("Fig. 3", "conv 0%")}  # one run, two rows


def main(
    data: Annotated[Path, typer.Option(help="Folder with one folder a set, each a metadata.csv.")],
    weights: Annotated[Path, typer.Option(help="Folder with BACKBONE*.safetensors.")],
    out: Annotated[Path, typer.Option(help="Folder for runs.csv, table.md and the runs.")],
    name: Annotated[str, typer.Option("--set", help="The set, a folder of DATA.")] = "holstein",
    backbone: Annotated[str, typer.Option(help="As fancl-train takes it.")] = "mobilenetv2_035",
    size: Annotated[str, typer.Option(help="As fancl-train takes it.")] = "96x96",
    epochs: Annotated[int, typer.Option()] = 6,
    iterations: Annotated[int, typer.Option(help="Steps an epoch.")] = 20,
    seed: Annotated[int, typer.Option()] = 1,
) -> None:
    """Train, evaluate, sum up."""
    out.mkdir(parents=True, exist_ok=True)
    rows = read(out / "runs.csv")
    file = weights_file(weights, backbone)
    table = data / name / "metadata.csv"
    for part, jobs in (("Fig. 3", FIG_3), ("Table II", TABLE_II)):
        for row, flags in jobs.items():
            if any((one["part"], one["row"]) == (part, row) for one in rows):
                continue
            print(f"{part}: {row}", flush=True)
            twin = next((one for one in rows if (one["part"], one["row"]) == SAME.get(row)), None)
            if twin is None:
                run = out / "run"
                shutil.rmtree(run, ignore_errors=True)  # of a row that was interrupted
                command(
                    "fancl-train", table, "--out", run, "--bursts", "off", "--backbone", backbone,
                    "--weights", file, "--size", size, "--epochs", epochs,
                    "--iterations", iterations, "--seed", seed, "--precision", "fp32", *flags,
                )  # fmt: skip
                figures = json.loads(command("fancl-eval", run, table, "--json", "--no-controls"))
                shutil.rmtree(run)
            else:
                figures = {key: float(twin[key]) for key in COLUMNS[2:]}
            cells = {key: f"{figures[key]:.4f}" for key in COLUMNS[2:]}
            rows.append({"part": part, "row": row, **cells})
            write(out / "runs.csv", COLUMNS, rows)
    text = _table(rows)
    (out / "table.md").write_text(text, encoding="utf-8")
    print(text)


def _table(rows: list[dict[str, str]]) -> str:
    lines = ["| part | row | mAP | rank-1 | rank-5 | rank-10 |", "|---|---|---|---|---|---|"]
    for row in rows:
        cells = [f"{100 * float(row[key]):.1f}" for key in COLUMNS[2:]]
        lines.append("| " + " | ".join([row["part"], row["row"], *cells]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
