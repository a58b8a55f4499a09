"""Taking the gallery over to another model: its crops embedded anew, beside the old embeddings.

The embeddings are computed first, compared inside the transaction that stores them, and nothing of
the old encoder is touched: going back is putting the old model in place again. Sightings that a
person has reviewed keep what they were decided with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge import media
from edge.encoder import Encoder
from edge.errors import GalleryError, MediaError
from edge.gallery import compare
from edge.gallery.compare import Figures
from edge.gallery.gallery import Gallery
from edge.preprocess import Image
from edge.record import store_gallery, store_observations
from edge.record.state import StateFolder
from edge.record.store import Store
from edge.record.store_gallery import NewEmbedding
from edge.text import counted

_BATCH = 32
Advance = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Reembedded:
    num_exemplars: int  # embedded now; the others were already
    num_detections: int
    num_without_crop: int  # detections that cannot be compared by the new encoder
    old: Figures | None  # None: nothing to compare with
    new: Figures | None


@dataclass(frozen=True, kw_only=True)
class _Task:
    key: str  # exemplar_id or detection_id
    crop: str


def count_missing(store: Store, encoder_id: str) -> int:
    return len(store_gallery.lacking(store, encoder_id)) + len(
        store_observations.unreviewed_crops(store, encoder_id)
    )


def reembed(
    store: Store,
    state: StateFolder,
    encoder: Encoder,
    installed_id: str | None,
    must_hold: bool,
    advance: Advance,
) -> Reembedded:
    """Stores what the encoder makes of the gallery, and of sightings nobody has reviewed.

    With `must_hold`, raises GalleryError, nothing stored, where it finds the animals worse than
    the encoder before, which is `installed_id` if that knows the whole gallery.
    """
    encoder_id = encoder.manifest.encoder_id
    exemplars = [_Task(key=a, crop=b) for a, b in store_gallery.lacking(store, encoder_id)]
    gone = [one.crop for one in exemplars if not state.crop(one.crop).is_file()]
    if gone:
        raise GalleryError(
            f"{counted(len(gone), 'crop')} of the gallery cannot be embedded anew, as "
            f"{state.crop(gone[0])} is not there; restore STATE/crops from a backup, or split "
            "these pictures off and retire them"
        )
    seen = store_observations.unreviewed_crops(store, encoder_id)
    detections = [one for one in seen if state.crop(one.crop).is_file()]
    emb_ED = _embed(state, encoder, exemplars, advance)
    tasks = [_Task(key=one.detection_id, crop=one.crop) for one in detections]
    emb_ND = _embed(state, encoder, tasks, advance)
    with store.transaction():
        before = _encoder_before(store, encoder_id, installed_id)
        store_gallery.add_embeddings(
            store,
            (
                NewEmbedding(exemplar_id=one.key, encoder_id=encoder_id, embedding=emb_D)
                for one, emb_D in zip(exemplars, emb_ED, strict=True)
            ),
        )
        store_observations.add_detection_embeddings(store, encoder_id, detections, emb_ND)
        old = _figures(store, before) if before else None
        new = _figures(store, encoder_id)
        if must_hold and before:
            _require_not_worse(old, new)
    return Reembedded(
        num_exemplars=len(exemplars),
        num_detections=len(detections),
        num_without_crop=len(seen) - len(detections),
        old=old,
        new=new,
    )


def told(figures: Figures | None) -> str:
    if figures is None:
        return "nothing to compare"
    asked = counted(figures.num_queries, "picture")
    return f"the right animal first in {figures.rank1:.1%} of {asked}, mAP {figures.mAP:.1%}"


def _embed(
    state: StateFolder, encoder: Encoder, tasks: Sequence[_Task], advance: Advance
) -> NDArray[np.float16]:
    parts = [np.zeros((0, encoder.manifest.embedding_dim), np.float16)]
    for start in range(0, len(tasks), _BATCH):
        batch = tasks[start : start + _BATCH]
        crops = [_read_crop(state, one.crop) for one in batch]
        parts.append(encoder.embed_crops(crops).astype(np.float16))
        advance(len(batch))
    return np.concatenate(parts)


def _read_crop(state: StateFolder, crop: str) -> Image:
    path = state.crop(crop)
    try:
        return media.decode(media.read_bytes(path)).image_HWC
    except MediaError as error:
        raise GalleryError(
            f"the crop {path} cannot be read ({error}); restore it from a backup"
        ) from error


def _encoder_before(store: Store, encoder_id: str, installed_id: str | None) -> str | None:
    """One that knows the whole gallery: the installed model's, else the one that knows most."""
    candidates = [installed_id, *store_gallery.encoder_ids(store)]
    for one in candidates:
        if one and one != encoder_id and not store_gallery.lacking(store, one):
            return one if store_gallery.exemplars(store, one) else None
    return None


def _figures(store: Store, encoder_id: str) -> Figures | None:
    exemplars = store_gallery.exemplars(store, encoder_id)
    if not exemplars:
        return None
    known = Gallery(exemplars, len(exemplars[0].embedding))
    return compare.leave_one_visit_out(known.reference())


def _require_not_worse(old: Figures | None, new: Figures | None) -> None:
    if old is None or new is None:
        raise GalleryError(
            "not switched: whether the new model is as good cannot be told, as no animal has "
            "pictures of two visits. Enrol some first, or switch all the same with --force"
        )
    if new.mAP < old.mAP - compare.TOLERATED_LOSS:
        raise GalleryError(
            f"not switched: on this gallery the new model finds {told(new)}; the one before "
            f"{told(old)}. Keep the old one, or switch all the same with --force"
        )
