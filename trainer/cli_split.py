"""The command `fancl-split`."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from trainer.terminal import Version, plain_errors

_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def split() -> None:
    _app()


class Per(str, enum.Enum):
    animal = "animal"
    side = "side"
    encounter = "encounter"


@_app.command(
    epilog="Example: fancl-split photos/ split.csv --per encounter   Then: fancl-train split.csv "
    "--method supervised --out runs/first, fancl-eval runs/first split.csv"
)
def _split(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            readable=False,
            help="Labelled photos: a folder with one folder an animal, or a metadata.csv with "
            "identity and path.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(metavar="OUT", readable=False, help="The table to write, a .csv file."),
    ],
    per: Annotated[
        Per,
        typer.Option(
            help="Whose first half are queries: all pictures of an animal, those of each side "
            "(position column), or its encounters, none of which is then on both sides (the "
            "strictest, where an encounter's frames are alike)."
        ),
    ] = Per.animal,
    test_share: Annotated[
        float, typer.Option(help="Of the animals, where DATA names none for training.")
    ] = 0.2,
    anew: Annotated[
        bool, typer.Option("--anew", help="Also where DATA has a split: draw the animals again.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 1,
    version: Version = False,
) -> None:
    """Divide labelled photos into train, query and gallery, no animal in train and in the others.

    Queries are what is asked about, the gallery is what is known; both hold the same animals.
    Animals that DATA already has in a train split stay there.
    """
    from edge.pictures import read_collection
    from trainer.split_table import write_table
    from trainer.splits import count, split_pictures

    with plain_errors("nothing was written"):
        collection = read_collection(data)
        splits = split_pictures(collection.pictures, per.value, test_share, seed, anew)
        write_table(out, data, collection, splits)
        counts = count(collection.pictures, splits)
    for name in ("train", "query", "gallery"):
        print(
            f"{name}: {counts.pictures.get(name, 0)} pictures of "
            f"{counts.identities.get(name, 0)} animals"
        )
    if counts.gallery_only:
        print(f"{counts.gallery_only} animals are in the gallery alone: nothing asks about them")
    print(f"written: {out}")
