"""The known animals in memory: who is most like these crops, and where the thresholds lie.

Built anew from the database at each start. Does not cover adding to it (edge/gallery/enroll.py).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from edge import calibrate
from edge.calibrate import Wanted
from edge.decide import Thresholds
from edge.errors import GalleryError
from edge.events import EVENT_GAP_SECONDS, group_by_gap
from edge.identity.trials import Reference
from edge.identity.votes import NEAREST_ANIMALS, votes
from edge.model import Manifest
from edge.pictures import Flank
from edge.record import store_gallery
from edge.record.store import Store, get_meta, put_meta
from edge.record.store_gallery import StoredExemplar
from edge.text import counted

SIDES: dict[Flank, int] = {"left": -1, "unknown": 0, "right": 1}
LIGHT_SIGNS: dict[bool | None, int] = {False: -1, None: 0, True: 1}  # whether infrared
_WANTED_KEY = "wanted_rates"  # in meta: what `edge-gallery calibrate` was asked for, and kept
_MIN_CANDIDATES = NEAREST_ANIMALS  # individuals that share a vote


@dataclass(frozen=True, kw_only=True)
class Matches:
    """How similar each crop is to each candidate: its best exemplar of a flank that fits."""

    individual_ids: list[str]
    similarity_NI: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class _Pictures:
    """Of some of a gallery's individuals; `own_M` is their place in the list that was asked for."""

    emb_MD: NDArray[np.float32]
    flank_M: NDArray[np.object_]
    own_M: NDArray[np.int64]


class Gallery:
    """Exemplars of one encoder. `open_gallery` is the way to get the database's."""

    def __init__(
        self,
        exemplars: Sequence[StoredExemplar],
        embedding_dim: int,
        wanted: Wanted = calibrate.DEFAULT,
    ) -> None:
        self.wanted = wanted  # the error rates its thresholds are for
        faiss.omp_set_num_threads(1)  # a handful of queries: threads only cost battery
        self.embedding_dim = embedding_dim
        self._exemplars = list(exemplars)
        self.individual_ids = sorted({one.individual_id for one in exemplars})
        row_of = {one: row for row, one in enumerate(self.individual_ids)}
        self._individual_M = np.array([row_of[one.individual_id] for one in exemplars], np.int64)
        self._flank_M = np.array([one.flank for one in exemplars], dtype=object)
        self._emb_MD = _unit_rows([one.embedding for one in exemplars], embedding_dim)
        self._index = faiss.IndexFlatIP(embedding_dim)
        self._index.add(self._emb_MD)

    def __len__(self) -> int:
        return len(self._exemplars)

    def search(self, emb_ND: NDArray[np.float32], flanks: Sequence[Flank]) -> Matches:
        """The individuals nearest to any of the crops, each crop's six nearest among them."""
        candidates = self._candidates(emb_ND)
        rows_M = np.flatnonzero(np.isin(self._individual_M, candidates))
        similarity_NI = np.full((len(emb_ND), len(self.individual_ids)), -np.inf, np.float32)
        exact_NM = emb_ND @ self._emb_MD[rows_M].T
        for best_I, row_M, flank in zip(similarity_NI, exact_NM, flanks, strict=True):
            fits = _fits(flank, self._flank_M[rows_M])
            np.maximum.at(best_I, self._individual_M[rows_M[fits]], row_M[fits])
        comparable = [one for one in candidates if np.isfinite(similarity_NI[:, one]).any()]
        return Matches(
            individual_ids=[self.individual_ids[one] for one in comparable],
            similarity_NI=_fill_gaps(similarity_NI[:, comparable]),
        )

    def votes(
        self,
        emb_ND: NDArray[np.float32],
        flanks: Sequence[Flank],
        individual_ids: Sequence[str],
        beside: Gallery | None = None,
    ) -> NDArray[np.float32]:
        """Votes [N, I] for these individuals, those a search has found, and then for those of
        `beside`, whose pictures stand among theirs."""
        parts = [self._pictures_of(individual_ids)]
        if beside is not None:
            parts.append(beside._pictures_of(beside.individual_ids))
        emb_MD = np.concatenate([one.emb_MD for one in parts])
        flank_M = np.concatenate([one.flank_M for one in parts])
        own_M = np.concatenate([parts[0].own_M, *(len(individual_ids) + one.own_M
                                                  for one in parts[1:])])  # fmt: skip
        similarity_NM = emb_ND @ emb_MD.T
        for row_M, flank in zip(similarity_NM, flanks, strict=True):
            row_M[~_fits(flank, flank_M)] = -np.inf
        num_animals = len(individual_ids) + (len(beside.individual_ids) if beside else 0)
        best_IN = np.full((num_animals, len(emb_ND)), -np.inf, np.float32)
        np.maximum.at(best_IN, own_M, similarity_NM.T)
        return _fill_gaps(votes(similarity_NM, best_IN.T, emb_MD, own_M))

    def _pictures_of(self, individual_ids: Sequence[str]) -> _Pictures:
        number_of = {one: number for number, one in enumerate(individual_ids)}
        number_I = np.array([number_of.get(one, -1) for one in self.individual_ids], np.int64)
        own_M = number_I[self._individual_M]
        rows = np.flatnonzero(own_M >= 0)
        return _Pictures(emb_MD=self._emb_MD[rows], flank_M=self._flank_M[rows], own_M=own_M[rows])

    def _candidates(self, emb_ND: NDArray[np.float32]) -> NDArray[np.int64]:
        """Rows of the individuals among each crop's nearest exemplars, at least six a crop."""
        if not len(self):
            return np.zeros(0, np.int64)
        wanted = min(_MIN_CANDIDATES, len(self.individual_ids))
        k = min(2 * _MIN_CANDIDATES, len(self))
        while True:
            _, nearest_NK = self._index.search(np.ascontiguousarray(emb_ND), k)
            individual_NK = self._individual_M[nearest_NK]
            if k == len(self) or min(len(np.unique(row)) for row in individual_NK) >= wanted:
                return np.asarray(np.unique(individual_NK))
            k = min(2 * k, len(self))

    def reference(self) -> Reference:
        """The exemplars as calibration wants them, one group an event."""
        return Reference(
            emb_MD=self._emb_MD,
            individual_M=self._individual_M,
            group_M=np.array(_groups(self._exemplars), np.int64),
            side_M=np.array([SIDES[one.flank] for one in self._exemplars], np.int64),
            light_M=np.array([LIGHT_SIGNS[one.infrared] for one in self._exemplars], np.int64),
        )


def open_gallery(store: Store, manifest: Manifest) -> Gallery:
    """The database's gallery; raises GalleryError when another encoder made it."""
    require_encoder(store, manifest.encoder_id)
    exemplars = store_gallery.exemplars(store, manifest.encoder_id)
    return Gallery(exemplars, manifest.embedding_dim, wanted_rates(store))


def wanted_rates(store: Store) -> Wanted:
    """What the user asked for and the gallery could promise, else the default."""
    stored = get_meta(store, _WANTED_KEY)
    return calibrate.DEFAULT if stored is None else Wanted(**json.loads(stored))


def keep_wanted_rates(store: Store, wanted: Wanted) -> None:
    put_meta(store, _WANTED_KEY, json.dumps(dataclasses.asdict(wanted), sort_keys=True))


def require_encoder(store: Store, encoder_id: str) -> None:
    """Raises GalleryError unless this encoder has embedded every exemplar."""
    missing = store_gallery.lacking(store, encoder_id)
    if missing:
        others = [one for one in store_gallery.encoder_ids(store) if one != encoder_id]
        raise GalleryError(
            f"the gallery in {store.path.parent} was enrolled with the encoder {others[0][:12]}, "
            f"this model is {encoder_id[:12]} and has not seen {len(missing)} of its pictures: "
            "embeddings of two encoders cannot be compared. Use the old model (--model FILE), or "
            "take the gallery over to this one: `edge-gallery reembed --model FILE`"
        )


def fit_thresholds(gallery: Gallery, manifest: Manifest) -> Thresholds | None:
    """From the gallery's own animals if they are enough, else the model's, else None."""
    if len(gallery.individual_ids) >= calibrate.MIN_INDIVIDUALS:
        return calibrate.fit(gallery.reference(), "gallery", gallery.wanted)
    decision = manifest.decision
    if decision.match_threshold is None or decision.new_threshold is None:
        return None
    return Thresholds(
        statistic="similarity",
        match=decision.match_threshold,
        new=decision.new_threshold,
        source=f"model ({decision.source})",
        wrong_name_rate=decision.wrong_name_rate,
        false_new_rate=decision.false_new_rate,
        named_rate=None,
        misnamed_rate=None,
    )


def explain(thresholds: Thresholds | None, num_individuals: int) -> str:
    """What the thresholds mean, as one would tell a biologist."""
    if thresholds is None:
        return (
            "no thresholds are known, so every animal is left for you to review: enrol "
            f"{calibrate.MIN_INDIVIDUALS} or more individuals (now {num_individuals}), best with "
            "pictures from two visits each, and they are measured on them"
        )
    where = (
        f"measured on {counted(num_individuals, 'animal')} of the gallery"
        if thresholds.source == "gallery"
        else f"from the {thresholds.source}, not from your animals"
    )
    if thresholds.wrong_name_rate is None:
        return f"how often it errs at this setting was not measured; {where}"
    strangers = f"{100 * thresholds.wrong_name_rate:.0f} of 100 strangers to get a known name"
    if thresholds.false_new_rate is None:
        return (
            f"at this setting expect about {strangers}; how many known animals are called new "
            f"cannot be told, as no animal has two visits; {where}"
        )
    called_new = f"{100 * thresholds.false_new_rate:.0f} to be called new"
    if thresholds.named_rate is None or thresholds.misnamed_rate is None:
        known = f"of 100 visits of known animals {called_new}"
    else:
        known = (
            f"of 100 visits of known animals {100 * thresholds.named_rate:.0f} to get the right "
            f"name, {100 * thresholds.misnamed_rate:.0f} another's, {called_new}, the others left "
            "for you to review"
        )
        if thresholds.misnamed_rate > thresholds.named_rate:
            where += (
                ". MOST NAMES WOULD BE WRONG: the model does not tell these animals apart, so "
                "trust none without looking, or train a better one"
            )
    return f"at this setting expect about {strangers}; {known}; {where}"


def _unit_rows(embeddings: list[NDArray[np.float16]], dim: int) -> NDArray[np.float32]:
    if not embeddings:
        return np.zeros((0, dim), np.float32)
    emb_MD = np.stack(embeddings).astype(np.float32)
    return np.asarray(emb_MD / np.linalg.norm(emb_MD, axis=1, keepdims=True), np.float32)


def _fits(flank: Flank, flank_M: NDArray[np.object_]) -> NDArray[np.bool_]:
    """The two sides of an animal are different pictures; an unknown side fits either."""
    if flank == "unknown":
        return np.ones(len(flank_M), bool)
    return np.asarray((flank_M == flank) | (flank_M == "unknown"), bool)


def _fill_gaps(similarity_NI: NDArray[np.float32]) -> NDArray[np.float32]:
    """Where a crop fits no exemplar of an individual, that individual's mean over the others."""
    known = np.isfinite(similarity_NI)
    if known.all():
        return similarity_NI
    sums_I = np.where(known, similarity_NI, 0.0).sum(axis=0)
    return np.where(known, similarity_NI, sums_I / known.sum(axis=0)).astype(np.float32)


def _groups(exemplars: Sequence[StoredExemplar]) -> list[int]:
    """Which event each exemplar comes from: the encounter the user named, else 60 s of pictures
    of one individual, else every picture by itself."""
    keys: list[tuple[str, str]] = []
    bursts = _bursts(exemplars)
    for position, one in enumerate(exemplars):
        if one.encounter is not None:
            keys.append((one.individual_id, f"encounter {one.encounter}"))
        else:
            keys.append((one.individual_id, bursts.get(position, f"picture {position}")))
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return [numbers[key] for key in keys]


def _bursts(exemplars: Sequence[StoredExemplar]) -> dict[int, str]:
    by_individual: dict[str, list[int]] = {}
    for position, one in enumerate(exemplars):
        if one.encounter is None and one.captured_at is not None:
            by_individual.setdefault(one.individual_id, []).append(position)
    bursts: dict[int, str] = {}
    for positions in by_individual.values():
        times = [moment for one in positions if (moment := exemplars[one].captured_at)]
        for number, group in enumerate(group_by_gap(times, EVENT_GAP_SECONDS)):
            bursts.update({positions[member]: f"burst {number}" for member in group})
    return bursts
