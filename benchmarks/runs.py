"""What the benchmarks share: tables that grow by a row, and commands of this installation."""

from __future__ import annotations

import csv
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import typer


def read(table: Path) -> list[dict[str, str]]:
    """The rows of a CSV file; none where it is absent."""
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(table: Path, columns: Sequence[str], rows: list[dict[str, str]]) -> None:
    """The file appears whole or not at all."""
    temporary = table.with_suffix(".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(table)


def cell(rows: list[dict[str, str]], column: str, factor: float, places: int) -> str:
    """The mean of a column, and its spread where there is more than one value."""
    values = [factor * float(row[column]) for row in rows if row[column]]
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.{places}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{places}f}{spread}"


def require_folders(data: Path, weights: Path) -> None:
    """Leaves where real animals or weights are not there."""
    if not data.is_dir() or not weights.is_dir():
        print(f"{data} or {weights} is not there: real animals are needed for this benchmark")
        raise typer.Exit(1)


def command(name: str, *words: object) -> str:
    """What the command writes to stdout; its progress goes to the terminal. Leaves on failure."""
    script = Path(sys.executable).with_name(name)
    done = subprocess.run(
        [str(script), *map(str, words)], check=False, text=True, stdout=subprocess.PIPE
    )
    if done.returncode != 0:
        print(f"{name} ended with exit code {done.returncode}; see its words above")
        raise typer.Exit(1)
    return done.stdout


def weights_file(weights: Path, backbone: str) -> Path:
    """The one file of the folder for that backbone."""
    found = sorted(weights.glob(f"{backbone}*.safetensors"))
    if len(found) != 1:
        print(f"{weights} holds {len(found)} files {backbone}*.safetensors; one is needed")
        raise typer.Exit(1)
    return found[0]
