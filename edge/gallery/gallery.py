"""The known animals in memory: who is most like these crops, and where the thresholds lie.

Built anew from the database at each start. Does not cover adding to it (edge/gallery/enroll.py).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge import calibrate
from edge.calibrate import Wanted
from edge.decide import Thresholds
from edge.errors import GalleryError
from edge.events import EVENT_GAP_SECONDS, group_by_gap
from edge.gallery import search_index
from edge.gallery.search import Search
from edge.gallery.search_exact import best_similarity
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
_MAX_ONE_BY_ONE = 20_000  # exemplars beside an index: 2 ms a crop at width 512


@dataclass(frozen=True, kw_only=True)
class Matches:
    """How similar each crop is to each candidate: its best exemplar of a flank that fits."""

    individual_ids: list[str]
    similarity_NI: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Beside:
    """An individual that no gallery holds, to be compared beside one that does."""

    individual_id: str
    emb_MD: NDArray[np.float32]  # unit length
    side_M: NDArray[np.int64]

    def search(self, emb_ND: NDArray[np.float32], flanks: Sequence[Flank]) -> NDArray[np.float32]:
        """How similar each crop is to its best exemplar: [N]."""
        side_N = np.array([SIDES[one] for one in flanks], np.int64)
        return best_similarity(emb_ND, side_N, self.emb_MD, self.side_M)


@dataclass(frozen=True, kw_only=True)
class _Pictures:
    """Of some of a gallery's individuals; `own_M` is their place in the list that was asked for."""

    emb_MD: NDArray[np.float32]
    side_M: NDArray[np.int64]
    own_M: NDArray[np.int64]


class Gallery:
    """Exemplars of one encoder. `open_gallery` is the way to get the database's."""

    def __init__(
        self,
        exemplars: Sequence[StoredExemplar],
        embedding_dim: int,
        wanted: Wanted = calibrate.DEFAULT,
        index: Any = None,  # as `search_index.load` gives it
    ) -> None:
        self.wanted = wanted  # the error rates its thresholds are for
        self.embedding_dim = embedding_dim
        self.individual_ids = sorted({one.individual_id for one in exemplars})
        row_of = {one: row for row, one in enumerate(self.individual_ids)}
        self._individual_M = np.array([row_of[one.individual_id] for one in exemplars], np.int64)
        self._side_M = np.array([SIDES[one.flank] for one in exemplars], np.int64)
        self._light_M = np.array([LIGHT_SIGNS[one.infrared] for one in exemplars], np.int64)
        self._group_M = np.array(_groups(exemplars), np.int64)
        self._search = Search(
            [one.embedding for one in exemplars],
            self._individual_M,
            self._side_M,
            embedding_dim,
            index,
        )

    def __len__(self) -> int:
        return len(self._individual_M)

    @property
    def advice(self) -> str | None:
        """How it could be searched more quickly."""
        num_listed = self._search.num_one_by_one
        if len(self) <= search_index.MIN_EXEMPLARS or num_listed <= _MAX_ONE_BY_ONE:
            return None
        return (
            f"each crop is compared with {num_listed} exemplars one by one: `edge-gallery index` "
            "makes an index that searches them quicker, or adds them to the one there is"
        )

    def search(self, emb_ND: NDArray[np.float32], flanks: Sequence[Flank]) -> Matches:
        """The individuals nearest to any of the crops, each crop's six nearest among them."""
        side_N = np.array([SIDES[one] for one in flanks], np.int64)
        found = self._search.nearest(emb_ND, side_N, NEAREST_ANIMALS)
        return Matches(
            individual_ids=[self.individual_ids[one] for one in found.individual_C],
            similarity_NI=fill_gaps(found.similarity_NC),
        )

    def votes(
        self,
        emb_ND: NDArray[np.float32],
        flanks: Sequence[Flank],
        individual_ids: Sequence[str],
        beside: Beside | None = None,
    ) -> NDArray[np.float32]:
        """Votes [N, I] for these individuals, those a search has found, and then for the one
        `beside`, whose pictures stand among theirs."""
        named = self._pictures_of(individual_ids)
        num_animals = len(individual_ids) + (beside is not None)
        emb_MD, side_M, own_M = named.emb_MD, named.side_M, named.own_M
        if beside is not None:
            emb_MD = np.concatenate([emb_MD, beside.emb_MD])
            side_M = np.concatenate([side_M, beside.side_M])
            own_M = np.append(own_M, np.full(len(beside.emb_MD), len(individual_ids)))
        similarity_NM = emb_ND @ emb_MD.T
        side_N1 = np.array([[SIDES[one]] for one in flanks], np.int64)
        similarity_NM[side_N1 * side_M == -1] = -np.inf
        best_IN = np.full((num_animals, len(emb_ND)), -np.inf, np.float32)
        np.maximum.at(best_IN, own_M, similarity_NM.T)
        return fill_gaps(votes(similarity_NM, best_IN.T, emb_MD, own_M))

    def _pictures_of(self, individual_ids: Sequence[str]) -> _Pictures:
        number_of = {one: number for number, one in enumerate(individual_ids)}
        number_I = np.array([number_of.get(one, -1) for one in self.individual_ids], np.int64)
        own_M = number_I[self._individual_M]
        rows = np.flatnonzero(own_M >= 0)
        return _Pictures(
            emb_MD=self._search.unit_rows(rows), side_M=self._side_M[rows], own_M=own_M[rows]
        )

    def reference(self) -> Reference:
        """The exemplars as calibration wants them, one group an event."""
        return Reference(
            emb_MD=self._search.unit_rows(),
            individual_M=self._individual_M,
            group_M=self._group_M,
            side_M=self._side_M,
            light_M=self._light_M,
        )


def open_gallery(store: Store, manifest: Manifest) -> Gallery:
    """The database's gallery; raises GalleryError when another encoder made it."""
    require_encoder(store, manifest.encoder_id)
    exemplars = store_gallery.exemplars(store, manifest.encoder_id)
    folder = store.path.parent
    index = search_index.load(folder, manifest.encoder_id, manifest.embedding_dim)
    return Gallery(exemplars, manifest.embedding_dim, wanted_rates(store), index)


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


def fill_gaps(similarity_NI: NDArray[np.float32]) -> NDArray[np.float32]:
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
