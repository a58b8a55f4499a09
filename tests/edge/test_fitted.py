"""Thresholds are measured once a gallery, and again whenever it changes."""

from __future__ import annotations

import numpy as np
import pytest

from edge.gallery.gallery import Gallery, fit_thresholds
from edge.identity import fitted
from edge.record.store import open_store
from edge.record.store_gallery import StoredExemplar

from .conftest import tiny_manifest


def gallery_of(num_animals, off=0):
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((num_animals, 16))
    return Gallery(
        [
            StoredExemplar(
                individual_id=f"{animal:02d}", flank="unknown", encounter=f"{visit}",
                captured_at=None,
                embedding=(centres[animal] + 0.5 * rng.standard_normal(16) + off).astype("f2"),
            )
            for animal in range(num_animals)
            for visit in range(3)
        ],
        16,
    )  # fmt: skip


@pytest.mark.parametrize("num_animals", [3, 12])  # the model's thresholds, and the gallery's own
def test_what_is_kept_is_what_was_fitted_until_the_gallery_changes(
    tmp_path, monkeypatch, num_animals
):
    store, manifest = open_store(tmp_path / "edge.db"), tiny_manifest()
    gallery = gallery_of(num_animals)
    first = fitted.kept_thresholds(store, gallery, manifest)
    assert first == fit_thresholds(gallery, manifest)
    monkeypatch.setattr(fitted, "fit_thresholds", lambda *_: None)
    assert fitted.kept_thresholds(store, gallery, manifest) == first
    assert fitted.kept_thresholds(store, gallery_of(num_animals, off=1), manifest) is None
    store.close()
