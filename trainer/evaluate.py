"""What `fancl-eval` does: an encoder's retrieval figures on labelled pictures, beside controls."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge.detect import BoxesFile
from edge.encoder import open_encoder
from edge.errors import InputError
from edge.pictures import Collection, read_collection
from edge.preprocess import InputSpec
from trainer import checkpoint
from trainer.backbone import load_backbone
from trainer.checkpoint import load_encoder
from trainer.data import Crops, load_crops
from trainer.encoder import Encoder, embed, new_encoder, set_neck_statistics
from trainer.metrics import Retrieval, retrieval
from trainer.run import Narrator

Embedder = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
_CONTROL_SEED = 0
_TIMM = "timm:"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Something that embeds crops, and the input it wants."""

    name: str
    spec: InputSpec
    embed: Embedder


@dataclass(frozen=True, kw_only=True)
class Match:
    """A query with its best identity and the best other one; the latter may be absent."""

    path: str
    identity: str
    best_identity: str
    best_similarity: float
    runner_up_identity: str | None
    runner_up_similarity: float | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    source: str
    protocol: str
    figures: Retrieval
    controls: tuple[tuple[str, Retrieval], ...]
    matches: tuple[Match, ...]

    def to_json(self) -> dict[str, Any]:
        content: dict[str, Any] = _figures_json(self.figures)
        content["source"] = self.source
        content["protocol"] = self.protocol
        content["controls"] = {name: _figures_json(one) for name, one in self.controls}
        return content

    def to_text(self) -> str:
        rows = [(self.source, self.figures), *self.controls]
        width = max(len(name) for name, _ in rows)
        head = f"{'':{width}}   mAP  rank-1  rank-5  rank-10"
        lines = [
            f"{name:{width}}  {100 * one.mean_ap:4.1f}  {100 * one.rank1:6.1f}  "
            f"{100 * one.rank5:6.1f}  {100 * one.rank10:7.1f}"
            for name, one in rows
        ]
        skipped = (
            f"; {self.figures.num_skipped} queries left out: their animal is not in the gallery"
            if self.figures.num_skipped
            else ""
        )
        return "\n".join(
            [head, *lines, f"{self.figures.num_queries} queries, {self.protocol}{skipped} (in %)"]
        )


def _figures_json(figures: Retrieval) -> dict[str, Any]:
    return {
        "mAP": figures.mean_ap,
        "rank1": figures.rank1,
        "rank5": figures.rank5,
        "rank10": figures.rank10,
        "queries": figures.num_queries,
    }


@dataclass(frozen=True, kw_only=True)
class _Split:
    query: Crops
    gallery: Crops
    same: bool  # queries are the gallery: a crop is not matched with its own picture


def evaluate_source(
    source: str,
    data: Path,
    weights: str | None,
    boxes: Path | None,
    controls: bool,
    device: torch.device,
    narrator: Narrator,
) -> Outcome:
    """Figures of SOURCE and its controls; raises InputError where the data carry no labels."""
    candidate = _open(source, weights, device)
    split = _load(data, candidate.spec, boxes, narrator)
    others = _controls(source, split, device) if controls else []
    similarity = _similarity(candidate, split)
    figures = _figures(similarity, split)
    if not figures.num_queries:
        raise InputError(
            f"no query in {data} shows an animal that another gallery picture shows too; "
            "evaluation needs at least two pictures of an animal"
        )
    return Outcome(
        source=source,
        protocol=(
            "each crop against those of all other pictures"
            if split.same
            else f"gallery of {len(split.gallery)}"
        ),
        figures=figures,
        controls=tuple((one.name, _figures(_similarity(one, split), split)) for one in others),
        matches=_matches(similarity, split),
    )


def _open(source: str, weights: str | None, device: torch.device) -> Candidate:
    if source.startswith(_TIMM):
        spec = InputSpec(height=128, width=256, resize="squash", pad_value=0)
        loaded = load_backbone(source.removeprefix(_TIMM), weights, spec.height, spec.width)
        return _torch_candidate(source, Encoder(loaded.spec, loaded.module), spec, device)
    if weights is not None:
        raise InputError("--weights is for timm:NAME; a run or model file carries its own")
    path = Path(source)
    if path.suffix == ".onnx":
        encoder = open_encoder(path)
        return Candidate(name=source, spec=encoder.manifest.input, embed=encoder.embed)
    stored = load_encoder(path)
    return _torch_candidate(source, stored.encoder, stored.facts.input, device)


def _torch_candidate(
    name: str, encoder: Encoder, spec: InputSpec, device: torch.device
) -> Candidate:
    encoder = encoder.to(device)
    return Candidate(name=name, spec=spec, embed=lambda images: embed(encoder, images, device))


def _controls(source: str, split: _Split, device: torch.device) -> list[Candidate]:
    """The run's own start, and random weights whose neck has seen the gallery (no labels)."""
    run = Path(source) if Path(source).is_dir() else Path(source).parent
    if Path(source).suffix == ".onnx" or not (run / checkpoint.START).is_file():
        return []
    start = load_encoder(run / checkpoint.START)
    torch.manual_seed(_CONTROL_SEED)
    untrained = new_encoder(start.facts.backbone).to(device)
    set_neck_statistics(untrained, split.gallery.images_NHWC, device, "fp32")
    random = _torch_candidate("random weights", untrained, start.facts.input, device)
    if start.facts.weights == "none":
        return [random]
    name = f"frozen ({start.facts.weights})"
    return [_torch_candidate(name, start.encoder, start.facts.input, device), random]


def _load(data: Path, spec: InputSpec, boxes: Path | None, narrator: Narrator) -> _Split:
    everything = read_collection(data)
    if not everything.labelled:
        raise InputError(
            f"{data} has no labels: evaluation needs an `identity` column, or pictures in one "
            "folder an animal"
        )
    box_file = BoxesFile(boxes) if boxes else None

    def crops(split: str | None) -> Crops:
        found = load_crops(
            _named(read_collection(data, split), narrator),
            spec,
            box_file,
            progress=lambda done, total: narrator.progress(
                f"reading {split or 'pictures'}", done, total
            ),
        )
        for name, reason in found.skipped:
            narrator.say(f"left out: {name}: {reason}")
        return found

    splits = {picture.split for picture in everything.pictures}
    if {"query", "gallery"} <= splits:
        return _Split(query=crops("query"), gallery=crops("gallery"), same=False)
    whole = crops(None)
    return _Split(query=whole, gallery=whole, same=True)


def _named(collection: Collection, narrator: Narrator) -> Collection:
    """Only the pictures whose animal is known."""
    named = tuple(one for one in collection.pictures if one.identity is not None)
    if len(named) < len(collection.pictures):
        narrator.say(f"{len(collection.pictures) - len(named)} pictures name no animal: left out")
    return dataclasses.replace(collection, pictures=named)


def _similarity(candidate: Candidate, split: _Split) -> NDArray[np.float32]:
    """[Q, G]; -inf where query and gallery row are of the same picture."""
    gallery_GD = candidate.embed(split.gallery.images_NHWC)
    if not split.same:
        return candidate.embed(split.query.images_NHWC) @ gallery_GD.T
    similarity = gallery_GD @ gallery_GD.T
    picture = np.array([fact.sha256 for fact in split.gallery.facts])
    similarity[picture[:, None] == picture[None, :]] = -np.inf
    return similarity


def _identities(crops: Crops) -> NDArray[np.str_]:
    return np.array([fact.picture.identity or "" for fact in crops.facts])


def _figures(similarity_QG: NDArray[np.float32], split: _Split) -> Retrieval:
    return retrieval(similarity_QG, _identities(split.query), _identities(split.gallery))


def _matches(similarity_QG: NDArray[np.float32], split: _Split) -> tuple[Match, ...]:
    names, index_G = np.unique(_identities(split.gallery), return_inverse=True)
    matches = []
    for fact, row in zip(split.query.facts, similarity_QG, strict=True):
        best_I = np.full(len(names), -np.inf)
        np.maximum.at(best_I, index_G, row)
        first, *rest = np.argsort(-best_I, kind="stable")[:2]
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


def write_per_query(path: Path, outcome: Outcome) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = (
        "path", "identity", "best_identity", "best_similarity",
        "runner_up_identity", "runner_up_similarity",
    )  # fmt: skip
    rows = [
        [
            one.path,
            one.identity,
            one.best_identity,
            f"{one.best_similarity:.6f}",
            one.runner_up_identity or "",
            "" if one.runner_up_similarity is None else f"{one.runner_up_similarity:.6f}",
        ]
        for one in outcome.matches
    ]
    checkpoint.write_rows(path, columns, rows)
