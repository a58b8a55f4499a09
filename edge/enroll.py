"""Adding known animals to the gallery: from folders, a metadata.csv, or a training run's clusters.

What is written is one transaction a batch: stopping half-way loses nothing, and starting again
adds only what is missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge import clusters, media, store_gallery
from edge.clusters import read_clusters
from edge.crops import Cut, cut
from edge.detect import WHOLE_FRAME, Box
from edge.encoder import Encoder
from edge.errors import InputError, MediaError
from edge.gallery import require_encoder
from edge.pictures import Flank, read_collection
from edge.state import StateFolder, crop_name, write_crops
from edge.store import Store
from edge.store_gallery import NewExemplar
from edge.text import printable

_BATCH = 32
Advance = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A picture, or one box in it, said to show an individual."""

    path: Path
    individual: str
    box: Box | None  # None: the whole picture
    flank: Flank
    encounter: str | None
    captured_at: datetime | None
    provisional: bool  # the name is a cluster's number


@dataclass(frozen=True, kw_only=True)
class Candidates:
    pictures: list[Candidate]
    nameless: list[str]  # lie beside the individuals' folders and are left out


@dataclass(frozen=True, kw_only=True)
class Enrolment:
    """What came of it."""

    added: dict[str, int] = field(default_factory=dict)  # exemplars by individual
    already_there: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)  # with the reason
    also_elsewhere: list[str] = field(default_factory=list)  # the same crop in two individuals


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    candidate: Candidate
    sha256: str
    box: Box  # relative
    captured_at: datetime | None
    cut: Cut


def read_candidates(source: Path, split: str | None) -> Candidates:
    """What SOURCE says; raises InputError when it is none of the three forms."""
    if source.is_dir() and (source / clusters.FILE_NAME).is_file():
        source = source / clusters.FILE_NAME
    if source.name == clusters.FILE_NAME:
        if split is not None:
            raise InputError(f"{source} has no splits; leave --split away")
        return Candidates(pictures=_from_clusters(source), nameless=[])
    return _from_collection(source, split)


def _from_collection(source: Path, split: str | None) -> Candidates:
    collection = read_collection(source, split)
    nameless = [one.name for one in collection.pictures if not one.identity]
    is_folder = source.is_dir() and not (source / "metadata.csv").is_file()
    if nameless and not (is_folder and len(nameless) < len(collection.pictures)):
        raise InputError(
            f"{len(nameless)} of {len(collection.pictures)} pictures belong to nobody, the first "
            f"is {printable(nameless[0])}: put each picture into a sub-folder with the "
            "individual's name, or fill the column 'identity' of metadata.csv"
        )
    pictures = [
        Candidate(
            path=one.path,
            individual=_encodable(one.identity),
            box=one.box,
            flank=one.flank,
            encounter=one.encounter,
            captured_at=one.captured_at,
            provisional=False,
        )
        for one in collection.pictures
        if one.identity
    ]
    return Candidates(pictures=pictures, nameless=[printable(one) for one in nameless])


def _encodable(name: str) -> str:
    """The name; with its odd bytes as escapes where a folder's name is not UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return printable(name)
    return name


def _from_clusters(table: Path) -> list[Candidate]:
    rows = [row for row in read_clusters(table) if row.pseudo_label != clusters.OUTLIER]
    if not rows:
        raise InputError(
            f"{table} holds no cluster: every picture is an outlier. Train longer, or enrol from "
            "a folder with one sub-folder an individual"
        )
    missing = next((row.path for row in rows if not row.path.is_file()), None)
    if missing is not None:
        raise InputError(
            f"{table} names {printable(str(missing))}, which is not there; put the training "
            "pictures back, or enrol from a folder"
        )
    return [
        Candidate(
            path=row.path,
            individual=f"cluster {row.pseudo_label:03d}",
            box=row.box,
            flank="unknown",
            encounter=None,
            captured_at=None,
            provisional=True,
        )
        for row in rows
    ]


def enroll(
    store: Store,
    state: StateFolder,
    encoder: Encoder,
    candidates: Sequence[Candidate],
    advance: Advance,
) -> Enrolment:
    """Adds the candidates; a picture that cannot be used is told and left out."""
    require_encoder(store, encoder.manifest.encoder_id)
    report = Enrolment()
    for batch in _batches(candidates):
        prepared = _prepare(encoder, batch, report)
        _record(store, state, encoder, prepared, report)
        advance(len(batch))
    return report


def _batches(candidates: Sequence[Candidate]) -> Iterator[Sequence[Candidate]]:
    for start in range(0, len(candidates), _BATCH):
        yield candidates[start : start + _BATCH]


def _prepare(encoder: Encoder, batch: Sequence[Candidate], report: Enrolment) -> list[_Prepared]:
    prepared: list[_Prepared] = []
    for candidate in batch:
        try:
            one = _prepare_one(encoder, candidate)
        except MediaError as error:
            report.unusable.append(f"{printable(str(candidate.path))} ({error})")
            continue
        if one.cut.usable:
            prepared.append(one)
        else:
            report.unusable.append(f"{printable(str(candidate.path))} (the animal is too small)")
    return prepared


def _prepare_one(encoder: Encoder, candidate: Candidate) -> _Prepared:
    data = media.read_bytes(candidate.path)
    frame = media.decode(data)
    height, width = frame.image_HWC.shape[:2]
    return _Prepared(
        candidate=candidate,
        sha256=hashlib.sha256(data).hexdigest(),
        box=candidate.box.to_relative(width, height) if candidate.box else WHOLE_FRAME,
        captured_at=candidate.captured_at or frame.captured_at,
        cut=cut(frame.image_HWC, candidate.box, encoder.manifest.input),
    )


def _record(
    store: Store,
    state: StateFolder,
    encoder: Encoder,
    prepared: list[_Prepared],
    report: Enrolment,
) -> None:
    if not prepared:
        return
    embeddings = encoder.embed(np.stack([one.cut.encoder_HWC for one in prepared]))
    write_crops(state, [one.cut.jpeg for one in prepared])
    added: dict[str, list[str]] = {}  # sha256 of the pictures, by individual_id
    with store.transaction():
        for one, emb_D in zip(prepared, embeddings.astype(np.float16), strict=True):
            name = one.candidate.individual
            owners = store_gallery.owners(store, one.sha256, one.box)
            if name in owners:
                report.already_there.append(printable(str(one.candidate.path)))
                continue
            if owners:
                report.also_elsewhere.append(
                    f"{printable(str(one.candidate.path))} is now an exemplar of "
                    f"{printable(name)} and of {printable(', '.join(owners))}"
                )
            individual_id = store_gallery.find_individual(
                store, name
            ) or store_gallery.add_individual(store, name, one.candidate.provisional)
            store_gallery.add_exemplar(store, individual_id, _exemplar(one, encoder, emb_D))
            added.setdefault(individual_id, []).append(one.sha256)
            report.added[name] = report.added.get(name, 0) + 1
        for individual_id, pictures in added.items():
            store_gallery.log(
                store,
                "enroll",
                individual_id,
                {"pictures": pictures, "encoder_id": encoder.manifest.encoder_id},
            )


def _exemplar(one: _Prepared, encoder: Encoder, emb_D: NDArray[np.float16]) -> NewExemplar:
    return NewExemplar(
        sha256=one.sha256,
        display=printable(str(one.candidate.path)),
        box=one.box,
        flank=one.candidate.flank,
        encounter=one.candidate.encounter,
        captured_at=one.captured_at,
        embedding=emb_D,
        encoder_id=encoder.manifest.encoder_id,
        crop=crop_name(one.cut.jpeg),
    )
