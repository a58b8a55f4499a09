"""The gallery's thresholds, kept in the database so that a start does not measure them again.

Measuring takes seconds in a gallery of thousands; what is kept counts for the very pictures, labels
and wanted rates it was measured on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json

from edge.decide import Thresholds
from edge.gallery.gallery import Gallery, fit_thresholds
from edge.identity.probability import Curve
from edge.model import Manifest
from edge.record.store import Store, get_meta, put_meta

_KEY = "fitted_thresholds"  # in meta
_RULES = 1  # raised whenever thresholds are fitted in another way


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


def _from_json(content: dict[str, object] | None) -> Thresholds | None:
    if content is None:
        return None
    curve = content.pop("curve")
    if isinstance(curve, dict):
        points = {name: tuple(curve.pop(name)) for name in ("value_P", "probability_P")}
        return Thresholds(**content, curve=Curve(**curve, **points))  # type: ignore[arg-type]
    return Thresholds(**content, curve=None)  # type: ignore[arg-type]


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
    ):
        assert array is not None
        sha.update(array.tobytes())
    return sha.hexdigest()
