"""edge-gallery calibrate and doctor: how often names are wrong, and what in the gallery may be."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from edge import calibrate, media
from edge.calibrate import Wanted
from edge.commands.common import ModelOption, StateOption, open_installed, plain_errors
from edge.decoding import quality
from edge.errors import GalleryError, StateError
from edge.gallery import coverage, gallery_doctor
from edge.gallery.gallery import Gallery, fit_thresholds, keep_wanted_rates, open_gallery
from edge.identity import lights, plot, promise
from edge.identity.trials import tabulate
from edge.record import store_gallery, store_identity
from edge.record.state import StateFolder, find_state, locked
from edge.record.store import open_reader, open_store
from edge.record.store_identity import ExemplarLabel
from edge.text import counted, printable, quoted

_MAX_TOLD = 20  # suggestions of one kind
_FALLBACK = "until then decisions go by {}"


def register(app: typer.Typer) -> None:
    """Adds both verbs to edge-gallery."""
    app.command("calibrate", epilog="Example: edge-gallery calibrate --wrong-names 0.02")(
        plain_errors(_calibrate)
    )
    app.command("doctor", epilog="Example: edge-gallery doctor --state /var/lib/edge-watch")(
        plain_errors(_doctor)
    )


def _calibrate(
    wrong_names: Annotated[
        float,
        typer.Option(min=0.001, max=0.5, help="Visits that may get a wrong name: 0.02 is 2 %."),
    ] = calibrate.DEFAULT.wrong_names,
    ghosts: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="Known animals' visits that may be new.")
    ] = calibrate.DEFAULT.ghosts,
    plot_file: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Also draw it, as an SVG.")
    ] = None,
    model: ModelOption = None,
    state: StateOption = None,
) -> None:
    """Set how often names may be wrong, and say what the gallery can promise.

    Every visit of an enrolled animal is left out and asked about once, as itself and as a
    stranger. Rates that this gallery cannot keep are refused, and nothing changes.
    """
    folder = find_state(state)
    manifest = open_installed(model, folder).manifest
    wanted = Wanted(wrong_names=wrong_names, ghosts=ghosts)
    with locked(folder):
        store = open_store(folder.database)
        try:
            lights.look_at_exemplars(store)
            gallery, names = open_gallery(store, manifest), store_gallery.names(store)
            reference = gallery.reference()
            reason = promise.too_few(reference, wanted)
            if reason is not None:
                in_force = fit_thresholds(gallery, manifest)
                source = in_force.source if in_force else "no thresholds: all is left to you"
                raise GalleryError(f"{reason}; {_FALLBACK.format(source)}")
            table = tabulate(reference)
            measured = promise.measured(table, wanted)
            if plot_file is not None:
                _write(plot_file, plot.draw(measured))
            in_force = fit_thresholds(gallery, manifest)
            by_row = {row: printable(names[one]) for row, one in enumerate(gallery.individual_ids)}
            reasons = promise.refusals(measured)
            overlapping = promise.overlap(measured, in_force, by_row)
            if reasons or overlapping:
                instead = promise.instead_of(reference, table) if reasons else None
                told = promise.refusal([*reasons, *filter(None, [overlapping])], wanted, instead)
                raise GalleryError(f"{told}. {promise.paragraph(measured, len(by_row), wanted)}")
            with store.transaction():
                keep_wanted_rates(store, wanted)
        finally:
            store.close()
    typer.echo(promise.paragraph(measured, len(by_row), wanted))


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StateError(
            "other", f"cannot write {file}: {error.strerror}; give another file with --plot"
        ) from error


def _doctor(model: ModelOption = None, state: StateOption = None) -> None:
    """Look for wrong labels, animals with two names, exemplars that confuse, and gaps.

    Suggestions only, the surest first, each with the command that mends it; `edge-gallery undo`
    takes it back.
    """
    folder = find_state(state)
    manifest = open_installed(model, folder).manifest
    store = open_reader(folder.database)
    try:
        gallery, names = open_gallery(store, manifest), store_gallery.names(store)
        labels = store_identity.labels(store, manifest.encoder_id)
    finally:
        store.close()
    if len(gallery.individual_ids) < 2:
        raise GalleryError(
            f"the gallery holds {counted(len(gallery.individual_ids), 'individual')}, and there "
            "is nothing to compare: add animals with `edge-gallery enroll FOLDER`"
        )
    shown = [printable(names[one]) for one in gallery.individual_ids]
    by_id = dict(zip(gallery.individual_ids, shown, strict=True))
    missing = list(coverage.gaps(by_id, labels, partial(_infrared, folder)))
    findings = [*_similar(gallery, shown, labels), *missing[:_MAX_TOLD]]
    if len(missing) > _MAX_TOLD:
        findings.append(f"and {counted(len(missing) - _MAX_TOLD, 'gap')} more")
    for line in findings:
        typer.echo(line)
    if not findings:
        typer.echo("nothing suspicious was found")


def _similar(gallery: Gallery, shown: list[str], labels: list[ExemplarLabel]) -> list[str]:
    reference = gallery.reference()
    wrong = gallery_doctor.wrong_labels(reference)
    lines = [
        f"likely wrong label: {labels[one.exemplar].display} of {shown[one.own]} looks like "
        f"{shown[one.better]} ({one.margin:.2f} closer). Mend: edge-gallery move "
        f"{labels[one.exemplar].exemplar_id} {quoted(shown[one.better])}"
        for one in wrong[:_MAX_TOLD]
    ]
    lines += [
        f"likely one animal with two names: {shown[one.first]} and {shown[one.second]}. Mend: "
        f"edge-gallery merge {quoted(shown[one.second])} {quoted(shown[one.first])}"
        for one in gallery_doctor.duplicates(reference, wrong)[:_MAX_TOLD]
    ]
    if not gallery_doctor.enough_for_duplicates(reference):
        lines.append(
            f"animals with two names were not looked for: {counted(len(labels), 'picture')} are "
            f"too few to tell, {gallery_doctor.MIN_EXEMPLARS} are needed"
        )
    lines += [
        f"confusing: {labels[one.exemplar].display} of {shown[one.own]} is the nearest to "
        f"{counted(one.num_events, 'visit')} of {shown[one.other]}. Mend: edge-gallery split "
        f"{quoted(shown[one.own])} {labels[one.exemplar].exemplar_id}"
        for one in gallery_doctor.confusing(reference)[:_MAX_TOLD]
    ]
    return lines


def _infrared(folder: StateFolder, crop: str) -> bool:
    file = folder.crop(crop)
    if not file.is_file():
        raise GalleryError(
            f"{file} is missing, a picture of the gallery: bring it back from a backup "
            "(`edge-admin restore`)"
        )
    return quality.is_infrared(media.decode(media.read_bytes(file)).image_HWC)
