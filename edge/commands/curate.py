"""edge-gallery: what a person changes about the animals; every change can be undone.

These commands work while edge-watch runs, which takes new names at once and new pictures at its
next start.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from edge.commands.common import ByOption, StateOption, plain_errors
from edge.errors import InputError
from edge.gallery import curate, gallery_log, verdicts
from edge.gallery.history import tell
from edge.pictures import Flank
from edge.record import store_log
from edge.record.state import find_state
from edge.record.store_log import Editor, editing

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
_WHO = "A name, or an id, its beginning or its end."
_Animal = Annotated[str, typer.Argument(metavar="ANIMAL", help=_WHO)]
_Exemplar = Annotated[
    str,
    typer.Argument(metavar="EXEMPLAR", help="A picture's id, as `edge-gallery show` lists it."),
]
_Sighting = Annotated[
    str,
    typer.Argument(
        metavar="SIGHTING",
        help="The observation_id, or the event_id where the event has one animal, as in "
        "`edge-report csv --level event`; its beginning or its end will do.",
    ),
]


class Side(str, Enum):
    left = "left"
    right = "right"
    unknown = "unknown"


_FLANKS: dict[Side, Flank] = {
    Side.left: "left",
    Side.right: "right",
    Side.unknown: "unknown",
}
_FlankOption = Annotated[
    Side | None, typer.Option("--flank", help="Which side of the animal the pictures show.")
]


@contextmanager
def _change(state: Path | None, by: str | None) -> Iterator[Editor]:
    """The gallery for one change: on the disk whole when the block is left, or not at all."""
    with (
        store_log.open_beside(find_state(state)) as store,
        store.transaction(),
        editing(store, by or curate.system_user()) as editor,
    ):
        yield editor


def _told(editor: Editor, text: str) -> str:
    return f"{text} (entry {editor.entries[-1].seq}; `edge-gallery undo {editor.entries[-1].seq}`)"


@app.command("rename", epilog="Example: edge-gallery rename 'cluster 007' Luna --by anna")
@plain_errors
def _rename(
    animal: _Animal,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new name.")],
    by: ByOption = None,
    state: StateOption = None,
) -> None:
    """Give an animal another name; its id stays. A provisional name becomes a real one."""
    with _change(state, by) as editor:
        said = _told(editor, curate.rename(editor, animal, name))
    typer.echo(said)


@app.command("merge", epilog="Example: edge-gallery merge Luna2 Luna (Luna stays)")
@plain_errors
def _merge(
    animal: _Animal,
    into: Annotated[str, typer.Argument(metavar="INTO", help=f"The one that stays. {_WHO}")],
    by: ByOption = None,
    state: StateOption = None,
) -> None:
    """Say that two animals are one: the first goes into the second, with pictures and sightings.

    The first one's id lives on and stands for the second.
    """
    with _change(state, by) as editor:
        said = _told(editor, curate.merge(editor, animal, into))
    typer.echo(said)


@app.command(
    "split",
    epilog="Example: edge-gallery split Luna 4f2a91c0 spring-visit --name Nova; "
    "edge-gallery split Luna --back Luna2",
)
@plain_errors
def _split(
    animal: _Animal,
    pictures: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PICTURES]...",
            help="Exemplar ids or encounters, as `edge-gallery show` lists them.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What the new animal is called.")] = None,
    back: Annotated[
        str | None,
        typer.Option(
            metavar="ANIMAL", help="Instead of pictures: an animal that was merged into this one."
        ),
    ] = None,
    by: ByOption = None,
    state: StateOption = None,
) -> None:
    """Make two animals of one: some of its pictures become a new animal.

    With --back an animal that was merged lives again under its own id, with its own pictures.
    """
    if (back is None) == (not pictures):
        raise InputError("give either the pictures that leave, or --back ANIMAL")
    if back is None and name is None:
        raise InputError("how is the new animal called? Add --name NAME")
    with _change(state, by) as editor:
        if back is not None:
            said = curate.split_back(editor, animal, back, name)
        else:
            said = _told(editor, curate.split(editor, animal, pictures or [], name or ""))
    typer.echo(said)


@app.command("retire", epilog="Example: edge-gallery retire Luna --by anna")
@plain_errors
def _retire(animal: _Animal, by: ByOption = None, state: StateOption = None) -> None:
    """Stop matching an animal that died or left for good; its pictures and sightings are kept."""
    with _change(state, by) as editor:
        said = _told(editor, curate.retire(editor, animal))
    typer.echo(said)


@app.command("move", epilog="Example: edge-gallery move 4f2a91c0 Luna")
@plain_errors
def _move(
    exemplar: _Exemplar, animal: _Animal, by: ByOption = None, state: StateOption = None
) -> None:
    """Give a picture that has the wrong label to the right animal."""
    with _change(state, by) as editor:
        said = _told(editor, curate.move(editor, exemplar, animal))
    typer.echo(said)


@app.command("flank", epilog="Example: edge-gallery flank 4f2a91c0 left")
@plain_errors
def _flank(
    exemplar: _Exemplar,
    side: Annotated[Side, typer.Argument(metavar="SIDE", help="left, right or unknown.")],
    by: ByOption = None,
    state: StateOption = None,
) -> None:
    """Say which side of the animal a picture shows; the two sides are not compared."""
    with _change(state, by) as editor:
        said = _told(editor, curate.set_flank(editor, exemplar, _FLANKS[side]))
    typer.echo(said)


@app.command("confirm", epilog="Example: edge-gallery confirm 4f2a91c0 --flank left")
@plain_errors
def _confirm(
    sighting: _Sighting, flank: _FlankOption = None, by: ByOption = None, state: StateOption = None
) -> None:
    """Say that a sighting shows the animal that was proposed; its usable pictures join it.

    edge-watch matches with them after its next start.
    """
    with _change(state, by) as editor:
        said = _told(editor, verdicts.confirm(editor, sighting, _FLANKS[flank] if flank else None))
    typer.echo(said)


@app.command("assign", epilog="Example: edge-gallery assign 4f2a91c0 Luna")
@plain_errors
def _assign(
    sighting: _Sighting,
    animal: _Animal,
    new: Annotated[
        bool, typer.Option("--new", help="An animal nobody knew yet; ANIMAL is its name.")
    ] = False,
    flank: _FlankOption = None,
    by: ByOption = None,
    state: StateOption = None,
) -> None:
    """Say which animal a sighting shows; its usable pictures join that animal.

    edge-watch matches with them after its next start.
    """
    with _change(state, by) as editor:
        said = _told(
            editor,
            verdicts.assign(editor, sighting, animal, new, _FLANKS[flank] if flank else None),
        )
    typer.echo(said)


@app.command("reject", epilog="Example: edge-gallery reject 4f2a91c0")
@plain_errors
def _reject(
    sighting: _Sighting,
    animal: Annotated[
        str | None, typer.Argument(metavar="[ANIMAL]", help="Default: the proposed one.")
    ] = None,
    by: ByOption = None,
    state: StateOption = None,
) -> None:
    """Say that a sighting does not show the animal that was proposed."""
    with _change(state, by) as editor:
        said = _told(editor, verdicts.reject(editor, sighting, animal))
    typer.echo(said)


@app.command("undo", epilog="Example: edge-gallery history, then edge-gallery undo 12")
@plain_errors
def _undo(
    entry: Annotated[
        str,
        typer.Argument(metavar="NUMBER", help="Of the entry, as `edge-gallery history` has it."),
    ],
    with_later: Annotated[
        bool, typer.Option("--with-later", help="Also undo the later entries that build on it.")
    ] = False,
    by: ByOption = None,
    state: StateOption = None,
) -> None:
    """Make an entry of the log as if it had not happened, whatever came after it.

    An undo is an entry too: undoing it brings back what it took away.
    """
    with _change(state, by) as editor:
        taken = curate.undo(editor, entry, with_later)
        known = gallery_log.replay(editor.entries)
        lines = [f"undone: {one.seq}  {tell(known, editor.entries, one)}" for one in taken]
        lines.append(_told(editor, "the gallery is as if they had not happened"))
    for line in lines:
        typer.echo(line)
