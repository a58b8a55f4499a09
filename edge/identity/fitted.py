"""The gallery's thresholds, kept in the database so that a start does not measure them again.

Measuring takes seconds in a gallery of thousands; what is kept counts for the very pictures, labels
and wanted rates it was measured on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import numpy as np

from edge.decide import Apart, Thresholds
from edge.gallery.gallery import Gallery, fit_thresholds
from edge.identity.probability import Curve
from edge.model import Manifest
from edge.record.store import Store, get_meta, put_meta

_KEY = "fitted_thresholds"  # in meta
_RULES = 2  # raised whenever thresholds are fitted in another way


def kept_thresholds(store: Store, gallery: Gallery, manifest: Manifest) -> Thresholds | None:
    """As `fit_thresholds` gives them; inside a transaction or outside of any."""
    digest = _digest(gallery, manifest)
    stored = json.loads(get_meta(store, _KEY) or "{}")
    if stored.get("digest") == digest:
        return _from_json(stored["thresholds"])
    thresholds = fit_thresholds(gallery, manifest)
    content = None if thresholds is None else dataclasses.asdict(thresholds)
    put_meta(store, _KEY, json.dumps({"digest": digest, "thresholds": content}))
    return thresholds


def _from_json(content: dict[str, Any] | None) -> Thresholds | None:
    if content is None:
        return None
    apart = [Apart(**one | {"curve": _curve(one["curve"])}) for one in content["apart"]]
    return Thresholds(**content | {"curve": _curve(content["curve"]), "apart": tuple(apart)})


def _curve(content: dict[str, Any] | None) -> Curve | None:
    if content is None:
        return None
    points = {name: tuple(content[name]) for name in ("value_P", "probability_P")}
    return Curve(**content | points)


def _digest(gallery: Gallery, manifest: Manifest) -> str:
    reference = gallery.reference()
    decision = dataclasses.asdict(manifest.decision)
    said = json.dumps(
        [_RULES, manifest.encoder_id, decision, dataclasses.asdict(gallery.wanted)], sort_keys=True
    )
    sha = hashlib.sha256(said.encode())
    for array in (
        reference.emb_MD,
        reference.individual_M,
        reference.group_M,
        reference.side_M,
        reference.light_M,
    ):
        assert array is not None
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()
