"""Whether stated rates are true on other animals, and whether the doctor finds what was put in."""

from __future__ import annotations

import numpy as np
from identity_open import Crops, reference_of
from numpy.typing import NDArray

from edge import calibrate
from edge.calibrate import Wanted
from edge.gallery import gallery_doctor
from edge.identity import promise
from edge.identity.trials import Reference, run_trials, tabulate

WANTED = (Wanted(wrong_names=0.02, ghosts=0.02), Wanted(wrong_names=0.05, ghosts=0.05))
RATES = ("strangers_named", "known_misnamed", "known_called_new")
WRONG_LABELS, DUPLICATES = 0.05, 5


def halves(crops: Crops, seed: int) -> list[dict[str, str]]:
    """Calibrated on half of the animals, measured on the other half; one row a wanted rate."""
    order = np.random.default_rng(seed).permutation(np.unique(crops.identity_N))
    first_N = np.isin(crops.identity_N, order[: len(order) // 2])
    reference = reference_of(crops.of(first_N))
    table, other = tabulate(reference), tabulate(reference_of(crops.of(~first_N)))
    rows = []
    for wanted in WANTED:
        row = {"wanted": f"{wanted.wrong_names:g} / {wanted.ghosts:g}"}
        reason = promise.too_few(reference, wanted)
        if reason is not None:
            rows.append(row | {"promised": "0", "why": reason})
            continue
        stated = promise.measured(table, wanted)
        limits = stated.thresholds
        true = calibrate.rates_at(run_trials(other, limits.statistic), limits)
        refused = promise.refusals(stated)
        row |= {"promised": str(int(not refused)), "why": "; ".join(refused)}
        row |= {
            "review": f"{stated.reviewed.share:.4f}",
            "true_review": f"{true.reviewed.share:.4f}",
        }
        for name in RATES:
            said, is_so = getattr(stated, name), getattr(true, name)
            if said is not None and is_so is not None:
                row |= {
                    f"{name}_low": f"{said.low:.4f}",
                    f"{name}_high": f"{said.high:.4f}",
                    f"{name}_true": f"{is_so.share:.4f}",
                    f"{name}_inside": str(int(said.low <= is_so.share <= said.high)),
                }
        rows.append(row)
    return rows


def doctor(crops: Crops, seed: int) -> dict[str, str]:
    """Wrong labels and second names put in by seed, and how many suggestions find them."""
    rng = np.random.default_rng(seed)
    true_N = np.unique(crops.identity_N, return_inverse=True)[1].astype(np.int64)
    label_N, pairs = _second_names(crops, true_N, rng)
    wrong = rng.choice(len(label_N), round(WRONG_LABELS * len(label_N)), replace=False)
    for row in wrong:
        label_N[row] = rng.choice(np.flatnonzero(np.arange(true_N.max() + 1) != true_N[row]))
    events = np.stack([label_N, np.unique(crops.event_N, return_inverse=True)[1]], axis=1)
    reference = Reference(
        emb_MD=crops.emb_ND,
        individual_M=label_N,
        group_M=np.unique(events, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64),
    )
    likely = gallery_doctor.wrong_labels(reference)
    told = [one.exemplar for one in likely]
    suggested = gallery_doctor.duplicates(reference, likely)[:DUPLICATES]
    twice = [frozenset((one.first, one.second)) for one in suggested]
    return {
        "labels_found": f"{np.isin(wrong, told).mean():.4f}",
        "labels_false": f"{1 - np.isin(told, wrong).mean():.4f}",
        "duplicates_found": f"{len(pairs & set(twice)) / len(pairs):.4f}",
        "duplicates_false": f"{1 - len(pairs & set(twice)) / len(twice):.4f}" if twice else "",
    }


def _second_names(
    crops: Crops, true_N: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], set[frozenset[int]]]:
    """Half of the events of some animals under a new number."""
    label_N, pairs = true_N.copy(), set()
    many = [
        one
        for one in range(int(true_N.max()) + 1)
        if len(np.unique(crops.event_N[true_N == one])) >= 4
    ]
    for one in rng.choice(many, DUPLICATES, replace=False):
        events = rng.permutation(np.unique(crops.event_N[true_N == one]))
        second = int(label_N.max()) + 1
        moved_N = (true_N == one) & np.isin(crops.event_N, events[: len(events) // 2])
        label_N[moved_N] = second
        pairs.add(frozenset((int(one), second)))
    return label_N, pairs
