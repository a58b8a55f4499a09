"""What the commands of the workstation share: a terminal to tell, errors as sentences, a device."""

from __future__ import annotations

import errno
import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edge.errors import FanclError, InputError

console = Console(stderr=True, highlight=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"fancl {importlib.metadata.version('fancl')}")
        raise typer.Exit()


Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=_show_version, is_eager=True, help="Print the version and leave."
    ),
]
_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EACCES: "let this user read and write there, or name another place",
    errno.EROFS: "it is mounted read-only; name another place",
}


@contextmanager
def plain_errors(after_stop: str) -> Iterator[None]:
    """Our own errors become one sentence and exit code 1, Ctrl-C one sentence and 130."""
    try:
        yield
    except FanclError as error:
        console.print(f"error: {error}", style="bold red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    except OSError as error:  # a full disk, a file or folder of another user
        place = f"{error.filename}: " if error.filename else ""
        advice = _ADVICE.get(error.errno or 0, "check the disk, or name another place")
        console.print(
            f"error: {place}{error.strerror or error}; {advice}; {after_stop}",
            style="bold red", markup=False, soft_wrap=True,
        )  # fmt: skip
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        console.print(f"stopped; {after_stop}", markup=False, soft_wrap=True)
        raise typer.Exit(130) from None


class Terminal:
    """Shows a run: one progress bar at a time, sentences above it."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
        )
        self._what = ""

    def __enter__(self) -> Terminal:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, sentence: str) -> None:
        self._progress.console.print(sentence, markup=False, soft_wrap=True)

    def progress(self, what: str, done: int, total: int, note: str = "") -> None:
        if what != self._what:
            for task in self._progress.task_ids:
                self._progress.remove_task(task)
            self._progress.add_task(what, total=total, note=note)
            self._what = what
        self._progress.update(self._progress.task_ids[0], completed=done, total=total, note=note)


def device_named(name: str):
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"--device {name} is not a device; use cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"--device {name}: no CUDA device is usable here; use --device cpu")
    return device


def parse_size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) >= 16 for part in parts):
        raise InputError(f"--size {text}: write height x width in pixels, for example 128x256")
    return int(parts[0]), int(parts[1])
