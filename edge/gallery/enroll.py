"""Adding known animals to the gallery: from folders, a metadata.csv, or a training run's clusters.

All of it is recorded in one transaction at the end: it is in the gallery whole, or not at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge import clusters, media
from edge.clusters import read_clusters
from edge.decoding.crops import Cut, cut
from edge.detect import WHOLE_FRAME, Box
from edge.encoder import Encoder
from edge.errors import InputError, MediaError
from edge.gallery import curate
from edge.gallery.curate import NewExemplar
from edge.gallery.gallery import require_encoder
from edge.pictures import Flank, read_collection
from edge.record.state import StateFolder, crop_name, write_crops
from edge.record.store import Store
from edge.record.store_log import Editor, editing
from edge.text import printable

_BATCH = 32
Advance = Callable[[int], None]
_Corners = tuple[float, float, float, float]  # relative: x, y, width, height


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
class _Read:
    candidate: Candidate
    sha256: str
    box: Box  # relative
    captured_at: datetime | None
    cut: Cut


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """The same embedded, so that its pixels can be let go of."""

    candidate: Candidate
    sha256: str
    box: Box  # relative
    captured_at: datetime | None
    crop: str
    embedding: NDArray[np.float16]


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
    who: str,
) -> Enrolment:
    """Adds the candidates; a picture that cannot be used is told and left out."""
    require_encoder(store, encoder.manifest.encoder_id)
    report = Enrolment()
    prepared: list[_Prepared] = []
    for batch in _batches(candidates):
        prepared.extend(_prepare(state, encoder, batch, report))
        advance(len(batch))
    with store.transaction(), editing(store, who) as editor:
        _record(editor, encoder, prepared, report)
    return report


def _batches(candidates: Sequence[Candidate]) -> Iterator[Sequence[Candidate]]:
    for start in range(0, len(candidates), _BATCH):
        yield candidates[start : start + _BATCH]


def _prepare(
    state: StateFolder, encoder: Encoder, batch: Sequence[Candidate], report: Enrolment
) -> list[_Prepared]:
    """The crops are on the disk when this returns, for the transaction that names them."""
    readings: list[_Read] = []
    for candidate in batch:
        try:
            one = _read(encoder, candidate)
        except MediaError as error:
            report.unusable.append(f"{printable(str(candidate.path))} ({error})")
            continue
        if one.cut.usable:
            readings.append(one)
        else:
            report.unusable.append(f"{printable(str(candidate.path))} (the animal is too small)")
    if not readings:
        return []
    embeddings = encoder.embed(np.stack([one.cut.encoder_HWC for one in readings]))
    write_crops(state, [one.cut.jpeg for one in readings])
    return [
        _Prepared(
            candidate=one.candidate,
            sha256=one.sha256,
            box=one.box,
            captured_at=one.captured_at,
            crop=crop_name(one.cut.jpeg),
            embedding=emb_D,
        )
        for one, emb_D in zip(readings, embeddings.astype(np.float16), strict=True)
    ]


def _read(encoder: Encoder, candidate: Candidate) -> _Read:
    data = media.read_bytes(candidate.path)
    frame = media.decode(data)
    height, width = frame.image_HWC.shape[:2]
    return _Read(
        candidate=candidate,
        sha256=hashlib.sha256(data).hexdigest(),
        box=candidate.box.to_relative(width, height) if candidate.box else WHOLE_FRAME,
        captured_at=candidate.captured_at or frame.captured_at,
        cut=cut(frame.image_HWC, candidate.box, encoder.manifest.input),
    )


def _record(
    editor: Editor, encoder: Encoder, prepared: Sequence[_Prepared], report: Enrolment
) -> None:
    owners: dict[tuple[str, _Corners], list[str]] = {}  # names by crop
    for known in editor.state.exemplars.values():
        name = editor.state.individuals[known.individual_id].name
        owners.setdefault((known.sha256, known.box), []).append(name)
    fresh: dict[str, list[_Prepared]] = {}
    for one in prepared:
        name, path = one.candidate.individual, printable(str(one.candidate.path))
        own = owners.setdefault((one.sha256, _corners(one.box)), [])
        if name in own:
            report.already_there.append(path)
            continue
        if own:
            others = printable(", ".join(sorted(own)))
            report.also_elsewhere.append(
                f"{path} is now an exemplar of {printable(name)} and of {others}"
            )
        own.append(name)
        fresh.setdefault(name, []).append(one)
        report.added[name] = report.added.get(name, 0) + 1
    for name, members in fresh.items():
        known_one = editor.state.living_named(name)
        curate.enrol(
            editor,
            known_one.individual_id if known_one else None,
            name,
            members[0].candidate.provisional,
            [_exemplar(one, encoder) for one in members],
        )


def _corners(box: Box) -> _Corners:
    return (box.x, box.y, box.width, box.height)


def _exemplar(one: _Prepared, encoder: Encoder) -> NewExemplar:
    return NewExemplar(
        sha256=one.sha256,
        display=printable(str(one.candidate.path)),
        box=one.box,
        flank=one.candidate.flank,
        encounter=one.candidate.encounter,
        captured_at=one.captured_at.isoformat() if one.captured_at else None,
        crop=one.crop,
        observation_id=None,
        embedding=one.embedding,
        encoder_id=encoder.manifest.encoder_id,
    )
