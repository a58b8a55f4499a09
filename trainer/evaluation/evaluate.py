"""What `fancl-eval` does: an encoder's figures on labelled pictures, beside controls."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edge.errors import InputError
from trainer import checkpoint
from trainer.encoder import Encoder, Precision, embed
from trainer.evaluation.branches import branches_of, settings_with_branches
from trainer.evaluation.candidate import (
    Candidate,
    controls_of,
    embed_flipped,
    open_candidate,
)
from trainer.evaluation.metrics import Retrieval
from trainer.evaluation.openset import OpenSet, open_set
from trainer.evaluation.outcome import Match, Outcome, Row
from trainer.evaluation.protocol import Rules
from trainer.evaluation.pseudo import score_pseudo_labels
from trainer.evaluation.public import Size, is_published
from trainer.evaluation.rerank import rerank
from trainer.evaluation.retrieved import retrieved
from trainer.evaluation.trial import Trial, labelled_collection, load_trial
from trainer.narrator import Narrator
from trainer.rundir import boxes_of, read_config


@dataclass(frozen=True, kw_only=True)
class EvalRequest:
    """What the user asked for, before the data are known."""

    source: str
    data: Path
    boxes: Path | None
    weights: str | None
    size: Size | None
    rules: Rules
    controls: bool
    flip: bool
    rerank: bool
    branches: bool  # also the noised and fused views of a FANCL run
    open_set_share: float | None  # of the animals; None: not asked for
    open_set_seeds: tuple[int, ...]
    pseudo_labels: bool
    device: torch.device


def evaluate_source(request: EvalRequest, narrator: Narrator) -> Outcome:
    """Figures of SOURCE and its controls.

    Raises InputError where the data carry no labels, or not what a protocol needs, and what
    opening the source raises.
    """
    request = _with_boxes_of_run(request, narrator)
    if request.branches:
        settings_with_branches(Path(request.source))  # refused before anything takes time
    pseudo_labels = (
        score_pseudo_labels(Path(request.source), request.data, request.boxes, narrator)
        if request.pseudo_labels
        else None
    )
    if is_published(request.source):
        labelled_collection(request.data)  # before anything is downloaded
    candidate = open_candidate(request.source, request.weights, request.size, request.device)
    trial = load_trial(request.data, candidate.spec, request.boxes, request.rules, narrator)
    emb_ND = candidate.embed(trial.crops.images_NHWC)
    similarity_QG = trial.similarity(emb_ND)
    first = _row(request, request.source, trial, emb_ND)
    if not first.figures.num_queries:
        raise InputError(_nothing_to_find(request.data, trial))
    return Outcome(
        source=first,
        variants=tuple(_variants(request, candidate, trial, emb_ND)),
        controls=tuple(_controls(request, trial)),
        division=trial.division,
        pseudo_labels=pseudo_labels,
        matches=_matches(similarity_QG, trial),
        retrieved=retrieved(trial, similarity_QG),
    )


def _with_boxes_of_run(request: EvalRequest, narrator: Narrator) -> EvalRequest:
    """On the very data that a run was trained on, the boxes of that run count too."""
    run = Path(request.source)
    run = run if run.is_dir() else run.parent
    if request.boxes is not None or not (run / checkpoint.CONFIG).is_file():
        return request
    config = read_config(run, "fancl-eval")
    boxes = boxes_of(run, config)
    if boxes is None or config["data"] != str(request.data.absolute()):
        return request
    narrator.say(f"with the boxes that the run was trained with, {boxes}")
    return dataclasses.replace(request, boxes=boxes)


def score_encoder(
    encoder: Encoder, trial: Trial, device: torch.device, precision: Precision = "fp32"
) -> Retrieval:
    """Figures of an encoder in memory on crops in memory; leaves it in eval mode."""
    emb_ND = embed(encoder, trial.crops.images_NHWC, device, precision)
    return trial.score(trial.similarity(emb_ND))


def _row(request: EvalRequest, name: str, trial: Trial, emb_ND: NDArray[np.float32]) -> Row:
    figures = trial.score(trial.similarity(emb_ND))
    found: OpenSet | None = None
    if request.open_set_share is not None and figures.num_queries:
        found = open_set(trial, emb_ND, request.open_set_share, request.open_set_seeds)
    return Row(name=name, figures=figures, open_set=found)


def _variants(
    request: EvalRequest, candidate: Candidate, trial: Trial, emb_ND: NDArray[np.float32]
) -> Iterator[Row]:
    if request.rerank:
        yield _reranked("re-ranking", trial, emb_ND)
    if request.flip:
        both_ND = embed_flipped(candidate, trial.crops.images_NHWC)
        yield _row(request, "flip", trial, both_ND)
        if request.rerank:
            yield _reranked("flip, re-ranking", trial, both_ND)
    if request.branches:
        for branch in branches_of(Path(request.source), request.device):
            yield _row(request, branch.name, trial, branch.embed(trial.crops.images_NHWC))


def _reranked(name: str, trial: Trial, emb_ND: NDArray[np.float32]) -> Row:
    """Without open-set figures: a re-ranked similarity is no cosine that a threshold was for."""
    division = trial.division
    similarity_QG = rerank(emb_ND, division.query_Q, division.gallery_G)
    figures = trial.score(trial.without_excluded(similarity_QG))
    return Row(name=name, figures=figures, open_set=None)


def _controls(request: EvalRequest, trial: Trial) -> Iterator[Row]:
    if not request.controls:
        return
    gallery_images_GHWC = trial.crops.images_NHWC[trial.division.gallery_G]
    for one in controls_of(request.source, gallery_images_GHWC, request.device):
        yield _row(request, one.name, trial, one.embed(trial.crops.images_NHWC))


def _nothing_to_find(data: Path, trial: Trial) -> str:
    sentence = (
        f"no query in {data} shows an animal that another gallery picture shows too; "
        "evaluation needs at least two pictures of an animal"
    )
    if trial.division.encounters_excluded and trial.division.num_encounter_pairs:
        sentence += ", of two encounters, or --no-exclude-encounter"
    return sentence


def _matches(similarity_QG: NDArray[np.float32], trial: Trial) -> tuple[Match, ...]:
    names, own_G = np.unique(trial.gallery_identity_G, return_inverse=True)
    facts = [trial.crops.facts[row] for row in trial.division.query_Q]
    matches = []
    for fact, row in zip(facts, similarity_QG, strict=True):
        best_I = np.full(len(names), -np.inf)
        np.maximum.at(best_I, own_G, row)
        first, *rest = np.argsort(-best_I, kind="stable")[:2]
        if not np.isfinite(best_I[first]):
            continue  # every gallery picture is of the query's own picture or encounter
        second = rest[0] if rest and np.isfinite(best_I[rest[0]]) else None
        matches.append(
            Match(
                path=fact.picture.name,
                identity=fact.picture.identity or "",
                best_identity=str(names[first]),
                best_similarity=float(best_I[first]),
                runner_up_identity=None if second is None else str(names[second]),
                runner_up_similarity=None if second is None else float(best_I[second]),
            )
        )
    return tuple(matches)
