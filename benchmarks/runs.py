"""What the benchmarks share: tables that grow by a row, and commands of this installation."""

from __future__ import annotations

import csv
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
