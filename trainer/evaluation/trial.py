"""A trial: labelled crops in memory, and how they are divided into queries and gallery.

Read once and put to any number of encoders that take crops of the same size.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.detection.boxes_file import BoxesFile
from edge.errors import InputError
from edge.pictures import Collection, read_collection
from edge.preprocess import InputSpec
from trainer.data import Crops, load_crops
from trainer.evaluation.metrics import Retrieval, retrieval
from trainer.evaluation.protocol import Division, Rules, divide, rows_for
from trainer.narrator import Narrator


@dataclass(frozen=True, kw_only=True)
class Trial:
    crops: Crops  # of query and gallery; each once, also where it is both
    division: Division
    query_identity_Q: NDArray[np.str_]
    gallery_identity_G: NDArray[np.str_]

    def similarity(self, emb_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cosines [Q, G] of unit rows in the order of the crops; -inf for excluded pairs."""
        similarity_QG = emb_ND[self.division.query_Q] @ emb_ND[self.division.gallery_G].T
        return self.without_excluded(similarity_QG)

    def without_excluded(self, similarity_QG: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.where(self.division.excluded_QG, np.float32(-np.inf), similarity_QG)

    def score(self, similarity_QG: NDArray[np.float32]) -> Retrieval:
        return retrieval(similarity_QG, self.query_identity_Q, self.gallery_identity_G)


def new_trial(crops: Crops, rules: Rules) -> Trial:
    """Labelled crops divided by the rules; raises InputError where they cannot be."""
    division = divide(crops.facts, rules)
    identity_N = np.array([fact.picture.identity or "" for fact in crops.facts])
    return Trial(
        crops=crops,
        division=division,
        query_identity_Q=identity_N[division.query_Q],
        gallery_identity_G=identity_N[division.gallery_G],
    )


def load_trial(
    data: Path, spec: InputSpec, boxes: Path | None, rules: Rules, narrator: Narrator
) -> Trial:
    """The labelled crops of DATA at the encoder's size, divided by the rules.

    Raises InputError where the data carry no labels, or not what the protocol needs.
    """
    return new_trial(_load_labelled(labelled_collection(data), rules, spec, boxes, narrator), rules)


def labelled_collection(data: Path, split: str | None = None) -> Collection:
    collection = read_collection(data, split)
    if not collection.labelled:
        raise InputError(
            f"{data} has no labels: evaluation needs an `identity` column, or pictures in one "
            "folder an animal"
        )
    return collection


def _load_labelled(
    collection: Collection,
    rules: Rules,
    spec: InputSpec,
    boxes: Path | None,
    narrator: Narrator,
) -> Crops:
    """The crops that take part and name an animal; what is left out is said."""
    rows = rows_for(collection.pictures, rules.protocol)
    named = tuple(one for one in rows if one.identity is not None)
    if len(named) < len(rows):
        narrator.say(f"{len(rows) - len(named)} pictures name no animal: left out")
    crops = load_crops(
        dataclasses.replace(collection, pictures=named),
        spec,
        BoxesFile(boxes) if boxes else None,
        progress=lambda done, total: narrator.progress("reading pictures", done, total),
    )
    for name, reason in crops.skipped:
        narrator.say(f"left out: {name}: {reason}")
    return crops
