"""edge-gallery index: the search index of a large gallery, made or brought up to date."""

from __future__ import annotations

import os
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from edge.commands.common import ModelOption, StateOption, open_installed, plain_errors
from edge.gallery import search_index
from edge.gallery.gallery import require_encoder
from edge.record import store_gallery
from edge.record.state import find_state, locked
from edge.record.store import open_reader
from edge.text import counted


def register(app: typer.Typer) -> None:
    """Adds the verb to edge-gallery."""
    app.command("index", epilog="Example: edge-gallery index --state /var/lib/edge-watch")(
        plain_errors(_index)
    )


def _index(
    over: Annotated[
        int,
        typer.Option(min=0, help="Exemplars from which on it pays; on a slow device perhaps less."),
    ] = search_index.MIN_EXEMPLARS,
    model: ModelOption = None,
    state: StateOption = None,
) -> None:
    """Make a large gallery quick to search, or add to its index what was enrolled since.

    The index is a file in the state folder, beside the record: without it searching finds the same
    and takes longer. On a small device the first time may take minutes; stop edge-watch meanwhile.
    """
    folder = find_state(state)
    manifest = open_installed(model, folder).manifest
    with locked(folder):
        store = open_reader(folder.database)
        try:
            require_encoder(store, manifest.encoder_id)
            embeddings = [
                one.embedding for one in store_gallery.exemplars(store, manifest.encoder_id)
            ]
        finally:
            store.close()
        if len(embeddings) <= over:
            search_index.remove(folder.root)
            typer.echo(
                f"no index is needed: the gallery holds {counted(len(embeddings), 'exemplar')}, "
                f"and up to {over} each crop is compared with every one (--over NUMBER for less)"
            )
            return
        began = time.monotonic()
        index = search_index.load(folder.root, manifest.encoder_id, manifest.embedding_dim)
        with Progress(console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task("indexing", total=len(embeddings))
            done = search_index.update(
                index,
                embeddings,
                manifest.embedding_dim,
                len(os.sched_getaffinity(0)),
                lambda number: progress.advance(bar, number),
            )
        if done.num_added or done.num_gone:
            search_index.save(done.index, folder.root, manifest.encoder_id)
    what = "was made of" if done.is_new else "is up to date:"
    typer.echo(
        f"the index {what} {counted(len(embeddings), 'exemplar')}, {done.num_added} of them new, "
        f"in {time.monotonic() - began:.0f} s"
    )
