"""What an evaluation found, and how it is told: a table, JSON, a CSV row a query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainer import checkpoint
from trainer.evaluation.metrics import Retrieval
from trainer.evaluation.openset import RULE, OpenSet, Spread
from trainer.evaluation.protocol import Division
from trainer.evaluation.pseudo import PseudoLabelFigures
from trainer.evaluation.retrieved import Retrieved

_OPEN_SET_HEADS = ("BAKS", "BAUS", "geom. mean", "AUROC")


@dataclass(frozen=True, kw_only=True)
class Row:
    """The figures of one encoder, or of one way to search with it."""

    name: str
    figures: Retrieval
    open_set: OpenSet | None


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
    source: Row
    variants: tuple[Row, ...]  # the same encoder with re-ranking, mirror images or both
    controls: tuple[Row, ...]
    division: Division
    pseudo_labels: PseudoLabelFigures | None
    matches: tuple[Match, ...]
    retrieved: Retrieved

    def to_json(self) -> dict[str, Any]:
        content = _row_json(self.source)
        content["source"] = self.source.name
        content["protocol"] = self.division.protocol
        content["skipped"] = self.source.figures.num_skipped
        content["gallery"] = len(self.division.gallery_G)
        content["encounter_pairs"] = self.division.num_encounter_pairs
        content["encounter_pairs_excluded"] = self.division.encounters_excluded
        content["left_out_by_protocol"] = {
            "pictures": self.division.num_undivided,
            "animals": self.division.num_undivided_identities,
        }
        content["variants"] = {one.name: _row_json(one) for one in self.variants}
        content["controls"] = {one.name: _row_json(one) for one in self.controls}
        if self.pseudo_labels is not None:
            content["pseudo_labels"] = asdict(self.pseudo_labels)
        return content

    def to_text(self) -> str:
        rows = [self.source, *(_indented(one) for one in self.variants), *self.controls]
        width = max(len(row.name) for row in rows)
        heads = ("mAP", "mINP", "rank-1", "rank-5", "rank-10", "rank-20")
        opened = any(row.open_set for row in rows)
        lines = [_line("", heads, width) + ("  " + _open_heads() if opened else "")]
        for row in rows:
            line = _line(row.name, [f"{100 * one:.1f}" for one in _means(row.figures)], width)
            lines.append(line + ("  " + _open_cells(row.open_set) if row.open_set else ""))
        return "\n".join([*lines, "in %; " + self._counts(), *self._notes()])

    def _counts(self) -> str:
        figures = self.source.figures
        skipped = (
            f"; {figures.num_skipped} queries left out: their animal is not in the gallery"
            if figures.num_skipped
            else ""
        )
        return f"{figures.num_queries} queries, {self.division.protocol}{skipped}"

    def _notes(self) -> Iterator[str]:
        yield from _division_notes(self.division)
        if self.source.open_set is not None:
            yield _open_set_note(self.source.open_set)
        if self.pseudo_labels is not None:
            yield _pseudo_label_note(self.pseudo_labels)


def _indented(row: Row) -> Row:
    return Row(name=f"  with {row.name}", figures=row.figures, open_set=row.open_set)


def _means(one: Retrieval) -> tuple[float, ...]:
    return one.mean_ap, one.mean_inp, one.rank1, one.rank5, one.rank10, one.rank20


def _line(name: str, cells: tuple[str, ...] | list[str], width: int) -> str:
    return f"{name:{width}}" + "".join(f"  {cell:>7}" for cell in cells)


def _open_heads() -> str:
    return "".join(f"  {head:>10}" for head in _OPEN_SET_HEADS)


def _open_cells(one: OpenSet) -> str:
    spreads = (one.baks, one.baus, one.geometric_mean, one.auroc)
    return "".join(f"  {_spread(spread, len(one.seeds)):>10}" for spread in spreads)


def _spread(one: Spread, num_seeds: int) -> str:
    return f"{100 * one.mean:.1f}" + (f"±{100 * one.sd:.1f}" if num_seeds > 1 else "")


def _division_notes(division: Division) -> Iterator[str]:
    if division.num_undivided:
        lack = "time" if division.protocol.startswith("time-aware") else "encounter"
        yield (
            f"{division.num_undivided} pictures left out, and with them "
            f"{division.num_undivided_identities} animals wholly: no {lack} is known"
        )
    if division.has_encounters:
        done = "left out" if division.encounters_excluded else "counted"
        yield f"{division.num_encounter_pairs} pairs of one animal in one encounter {done}"
    else:
        yield "no encounters are named: frames of one burst may match each other"


def _open_set_note(one: OpenSet) -> str:
    seeds = (
        f"mean±sd over seeds {', '.join(str(seed) for seed in one.seeds)}"
        if len(one.seeds) > 1
        else f"seed {one.seeds[0]}"
    )
    return (
        f"open set: {one.num_held_out} animals held out of the gallery, {one.num_known:.0f} "
        f"queries of known and {one.num_unknown:.0f} of unknown animals, {seeds}; {RULE}"
    )


def _pseudo_label_note(one: PseudoLabelFigures) -> str:
    shares = (
        "every crop is an outlier"
        if one.ari_clustered is None or one.purity is None
        else f"{one.ari_clustered:.3f} without them; {one.num_clusters} clusters, "
        f"{one.purity:.1%} pure, the largest with {one.largest_share:.1%} of the crops"
    )
    return (
        f"pseudo-labels: ARI {one.ari:.3f} with outliers ({one.outlier_share:.1%}) as clusters of "
        f"one, {shares}; {one.num_identities} animals on {one.num_crops} crops"
        + (f", {one.num_unmatched} more crops are not labelled" if one.num_unmatched else "")
    )


def _row_json(row: Row) -> dict[str, Any]:
    figures = row.figures
    content: dict[str, Any] = {
        "mAP": figures.mean_ap,
        "mINP": figures.mean_inp,
        "rank1": figures.rank1,
        "rank5": figures.rank5,
        "rank10": figures.rank10,
        "rank20": figures.rank20,
        "queries": figures.num_queries,
    }
    if row.open_set is not None:
        content["open_set"] = asdict(row.open_set) | {"rule": RULE}
    return content


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
