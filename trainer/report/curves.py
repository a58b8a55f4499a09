"""How training went: loss, clusters and retrieval figures over the epochs of metrics.csv."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.text import counted
from trainer.report.charts import Line, figure_of, line_chart
from trainer.report.markup import missing, paragraph, section, table, text
from trainer.report.record import Epochs, RunRecord


@dataclass(frozen=True, kw_only=True)
class _Chart:
    """One chart over epochs: which columns it draws, and what to say about it."""

    anchor: str
    title: str
    columns: tuple[tuple[str, str], ...]  # (column, name in the legend)
    caption: str
    percent: bool = False  # columns in [0, 1] drawn as percentages
    from_zero: bool = False
    num_crops: int = 1  # columns count crops: drawn as a share of so many


_LOSS = _Chart(
    anchor="chart-loss",
    title="Loss",
    columns=(
        ("loss", "total"),
        ("cluster_loss", "cluster"),
        ("consistency_loss", "consistency"),
    ),
    caption="Good: it falls and then levels out. Cluster: how far crops lie from their own "
    "cluster's centre against all others. Consistency: how far the noised view lies from the "
    "clean one; it is below zero, and lower is better. More clusters make the loss higher, so a "
    "small rise with them is no harm.",
)
_LOSS_IN_ONE = _Chart(
    anchor="chart-loss",
    title="Loss",
    columns=(("loss", "loss"),),
    caption="Good: it falls and then levels out. It tells how far crops lie from their own "
    "cluster's centre against all others; more clusters make it higher, so a small rise with them "
    "is no harm.",
)
_LOSS_BY_NAMES = _Chart(
    anchor="chart-loss",
    title="Loss",
    columns=(
        ("identity_loss", "identity"),
        ("triplet_loss", "triplet"),
        ("text_loss", "text"),
    ),
    caption="Good: all fall and then level out. Identity: crops are told apart by name. Triplet: "
    "crops of one animal lie nearer to each other than to others. Text, where there: crops fit "
    "their own animal's description best.",
)
_FIT = _Chart(
    anchor="chart-fit",
    title="How descriptions fit, %",
    columns=(
        ("description_cosine", "cosine"),
        ("description_top1", "nearest to their own"),
    ),
    caption="Of stage 1. Good: both rise. Cosine: of a crop to its own description. Nearest to "
    "their own: crops whose own animal's text fits better than any other's.",
    percent=True,
)
_NUM_CLUSTERS = _Chart(
    anchor="chart-clusters",
    title="Number of clusters",
    columns=(("num_clusters", "clusters"),),
    caption="Good: it settles near the number of animals that you expect, or at a few for each. "
    "Bad: it falls to a handful, or jumps until the end.",
    from_zero=True,
)
_SCORES = _Chart(
    anchor="chart-scores",
    title="Retrieval figures, %",
    columns=(("mAP", "mAP"), ("rank1", "rank-1"), ("ari", "ARI")),
    caption="Good: they rise and stay. Rank-1: how often the most similar picture shows the same "
    "animal. mAP: how far up all pictures of the animal stand. ARI, where there: how well "
    "pseudo-labels agree with the animals; 0 is chance, 100 is agreement in full.",
    percent=True,
)
_CRITERIA = _Chart(
    anchor="chart-criterion",
    title="How clearly clusters stand apart",
    columns=(("silhouette", "silhouette"), ("agreement", "agreement")),
    caption="Without labels. Agreement is what eps is chosen by: a slightly smaller eps would "
    "put the same crops together. Silhouette: crops lie nearer to their own cluster than to the "
    "next. Good: near 1. Bad: near 0 or below.",
)
_EPS = _Chart(
    anchor="chart-eps",
    title="Radius eps",
    columns=(("eps", "eps"),),
    caption="How far apart crops of one cluster may lie: as far as clusters do not yet run into "
    "each other. Large jumps from epoch to epoch are a bad sign.",
)


def render_curves(record: RunRecord) -> str:
    epochs = record.epochs
    if not epochs.rows:
        parts = [missing("No epoch has ended yet: <code>fancl-train</code> writes a row for each.")]
        return section("curves", parts)
    charts = [
        *(_draw(epochs, chart) for chart in _loss_charts(record)),
        _draw(epochs, _NUM_CLUSTERS),
        _draw(epochs, _shares(record.config["num_crops"])),
        _draw_eps(epochs),
        _draw(epochs, _CRITERIA),
    ]
    notes = _skipped_note(epochs)
    if epochs.values("loss") is None:
        notes.append(
            missing(
                "There is no loss to draw: no epoch found clusters to learn from. "
                "Change <code>clustering.eps</code> or <code>clustering.k1</code> "
                "(<code>--set</code>), <code>--bursts</code> or <code>--weights</code> and train "
                "again."
            )
        )
    if record.learns_from_names:
        notes.append(paragraph("This run learns from names; it makes no clusters."))
    parts = [*notes, f'<div class="charts">{"".join(charts)}</div>', _steady_eps(epochs)]
    return section("curves", [*parts, _all_figures(epochs)])


def render_scores(record: RunRecord) -> str:
    """Retrieval figures per epoch, for the section on how good the encoder is.

    Empty where no epoch was scored.
    """
    chart = _draw(record.epochs, _SCORES)
    return f'<div class="charts">{chart}</div>' if chart else ""


def _loss_charts(record: RunRecord) -> Sequence[_Chart]:
    """The loss with its parts; a consistency of zero throughout is not in the method."""
    if record.learns_from_names:
        return (_FIT, _LOSS_BY_NAMES)
    consistency_E = record.epochs.values("consistency_loss")
    has_parts = consistency_E is not None and bool(np.nan_to_num(consistency_E).any())
    return (_LOSS,) if has_parts else (_LOSS_IN_ONE,)


def _shares(num_crops: int) -> _Chart:
    return _Chart(
        anchor="chart-shares",
        title="Left out, and in the largest cluster, %",
        columns=(("num_outliers", "left out"), ("largest_share", "largest cluster")),
        caption="Good: fewer crops are left out from epoch to epoch, and the largest cluster "
        "stays small. Bad: a cluster with more than a quarter of all crops; it holds many "
        "animals.",
        percent=True,
        from_zero=True,
        num_crops=num_crops,
    )


def _draw(epochs: Epochs, chart: _Chart) -> str:
    """The chart of those columns that hold numbers; nothing where none does."""
    lines = []
    for column, name in chart.columns:
        values_E = epochs.values(column)
        if values_E is None:
            continue
        if column.startswith("num_"):
            values_E = values_E / chart.num_crops
        lines.append(Line(name=name, values_E=100 * values_E if chart.percent else values_E))
    if not lines:
        return ""
    epoch_E = np.array([float(row[epochs.columns.index("epoch")]) for row in epochs.rows])
    alt = f"{chart.title} over {counted(len(epoch_E), 'epoch')}: {_ends(lines)}"
    drawn = line_chart(chart.anchor, epoch_E, lines, epochs.skipped, chart.from_zero, alt)
    return figure_of(drawn, chart.title, chart.caption)


def _ends(lines: Sequence[Line]) -> str:
    """First and last value of each line, for those who cannot see it."""
    told = []
    for line in lines:
        known = line.values_E[np.isfinite(line.values_E)]
        told.append(f"{line.name} from {known[0]:.3g} to {known[-1]:.3g}")
    return ", ".join(told)


def _draw_eps(epochs: Epochs) -> str:
    return "" if _steady_eps(epochs) else _draw(epochs, _EPS)


def _steady_eps(epochs: Epochs) -> str:
    eps_E = epochs.values("eps")
    if eps_E is None or np.unique(eps_E).size > 1:
        return ""
    return paragraph(f"The clustering radius eps was {eps_E[0]:g} in every epoch.", "quiet")


def _skipped_note(epochs: Epochs) -> list[str]:
    num_skipped = int(epochs.skipped.sum())
    if not num_skipped:
        return []
    skipped = (
        "The only epoch was"
        if len(epochs.rows) == 1
        else f"{num_skipped} of {len(epochs.rows)} epochs {'was' if num_skipped == 1 else 'were'}"
    )
    return [
        paragraph(f"{skipped} skipped, as nothing could be learnt from the clusters (grey bands).")
    ]


def _all_figures(epochs: Epochs) -> str:
    rows = [[text(cell) for cell in row] for row in epochs.rows]
    figures = table(
        [text(column) for column in epochs.columns], rows, "All figures, a row an epoch"
    )
    return f"<details><summary>All figures (metrics.csv)</summary>{figures}</details>"
