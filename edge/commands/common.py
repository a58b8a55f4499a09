"""What the four commands share: --version, --state, and errors told as sentences."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec, TypeVar

import typer

from edge.commands.version import version
from edge.errors import FanclError, ModelError
from edge.record.state import StateFolder
from edge.text import printable

if TYPE_CHECKING:  # loading it loads numpy and OpenCV, which `--version` does not wait for
    from edge.compute.opening import Place
    from edge.encoder import Encoder

_P = ParamSpec("_P")
_R = TypeVar("_R")


def plain_errors(command: Callable[_P, _R]) -> Callable[_P, _R]:
    """The command with our own errors as one sentence and exit 1, Ctrl-C as exit 130."""

    @functools.wraps(command)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return command(*args, **kwargs)
        except FanclError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from error
        except PermissionError as error:
            place = printable(os.fsdecode(error.filename)) if error.filename else "a file"
            typer.echo(
                f"error: this user may not use {place} ({error.strerror}); run the command as the "
                "user it belongs to, or allow this one to with chmod or chown",
                err=True,
            )
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            typer.echo(
                "\nstopped; nothing is lost: what was recorded is on the disk, the rest is taken "
                "up again when you start the same command",
                err=True,
            )
            raise typer.Exit(130) from error

    return run


def run_app(app: typer.Typer, name: str) -> None:
    # A terminal or pipe that cannot show a letter gets its escape, not a crash.
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    app(prog_name=name)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version())
        raise typer.Exit


VersionOption = Annotated[
    bool,
    typer.Option(
        "--version", help="Print the version and leave.", callback=_print_version, is_eager=True
    ),
]
StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="DIR",
        readable=False,
        help="The state folder: sightings, gallery, crops and the installed model. "
        "Default: $STATE_DIRECTORY, else ~/.local/state/edge-watch.",
    ),
]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        metavar="FILE",
        readable=False,
        help="The model that `fancl-export` wrote. Default: the installed one, STATE/model.onnx.",
    ),
]


ProviderOption = Annotated[
    str,
    typer.Option(
        "--provider",
        metavar="NAME",
        help="What computes the model: auto (the fastest that computes rightly here), cpu, cuda, "
        "or another that onnxruntime has on this machine.",
    ),
]
ByOption = Annotated[
    str | None,
    typer.Option(
        "--by", metavar="NAME", help="Who says so, for the log. Default: the user at this device."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON, for a program.")]


def make_group(
    summary: str, example: str, kind: type[typer.core.TyperGroup] | None = None
) -> typer.Typer:
    """A command with verbs."""
    group = typer.Typer(
        cls=kind,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help=summary,
        epilog=example,
    )

    @group.callback()
    def _main(version: VersionOption = False) -> None:
        pass

    _main.__doc__ = summary
    return group


def open_installed(
    model: Path | None,
    folder: StateFolder,
    provider: str = "auto",
) -> Encoder:
    """The encoder of --model, else of the state folder; raises ModelError when there is none."""
    from edge.compute.opening import open_here

    return open_here(model or require_installed(folder), place_in(folder, provider))


def place_in(
    folder: StateFolder,
    provider: str,
    num_threads: int | None = None,
    tell: Callable[[str], None] | None = None,
) -> Place:
    """Where an encoder runs on behalf of a state folder, which keeps what is learned of that.

    What is not as it should be, but no hindrance, is told: by default as a warning.
    """
    from edge.compute.opening import Place

    return Place(
        provider=provider,
        num_threads=num_threads,
        cache=folder.cache if folder.root.is_dir() else None,
        tell=tell or warn,
    )


def warn_of_fallback(encoder: Encoder) -> None:
    """Tells when the CPU stands in for the provider asked for, now or later."""
    encoder.tell_of_fallback(warn)
    if encoder.choice.trouble:
        warn(encoder.choice.trouble)


def warn(sentence: str) -> None:
    typer.echo(f"warning: {printable(sentence)}", err=True)


def require_installed(folder: StateFolder) -> Path:
    """The state folder's model; raises ModelError when there is none."""
    if not folder.model.is_file():
        raise ModelError(
            f"no model: {folder.model} is not there. Make one with `fancl-export RUN --onnx "
            "FILE`, then give it with --model FILE or install it with "
            "`edge-admin model install FILE`"
        )
    return folder.model
