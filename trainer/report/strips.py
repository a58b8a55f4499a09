"""How well animals are found: figures, and for a few queries the most similar gallery crops."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.text import counted
from trainer.evaluation.metrics import Retrieval, retrieval
from trainer.evaluation.retrieved import Retrieved
from trainer.report.markup import missing, name, paragraph, percent, section
from trainer.report.pictures import Frame, figure, strip

Indices = NDArray[np.int64]
_NUM_EACH = 6  # queries with the right animal first, and with a wrong one
_NUM_GALLERY = 6  # crops beside a query
_SEED = 0


def figures_of(retrieved: Retrieved) -> Retrieval:
    return retrieval(
        retrieved.similarity_QG, retrieved.query_identity_Q, retrieved.gallery_identity_G
    )


def render_retrieval(retrieved: Retrieved | None, figures: Retrieval | None, scores: str) -> str:
    """`scores` is the markup of the figures per epoch, empty where there are none."""
    if retrieved is None or figures is None:
        reason = (
            "No queries with known animals came with this run, so nothing says how often it finds "
            "the right one. <code>fancl-eval RUN DATA --report</code> measures it and writes this "
            "page anew: DATA needs an identity column, or a folder an animal, and at least two "
            "pictures of an animal. <code>fancl-train ... --score</code> measures every epoch."
        )
        return section("retrieval", [missing(reason), scores])
    answerable_Q = np.flatnonzero(_has_answer(retrieved))
    if not len(answerable_Q):
        reason = (
            "No query shows an animal that the gallery shows too, so nothing could be found. "
            "Give at least two pictures of an animal, one of them in the gallery."
        )
        return section("retrieval", [missing(reason), scores])
    right_Q = _first_is_right(retrieved, answerable_Q)
    chooser = np.random.default_rng(_SEED)
    parts = [
        _figures(retrieved, figures),
        scores
        or missing(
            "There is no curve of mAP and rank-1, as no epoch of this run was scored: that takes "
            "<code>fancl-train --score</code> and pictures whose animals are known."
        ),
        _reading_help(),
        "<h3>A wrong animal first</h3>",
        _strips(retrieved, answerable_Q[~right_Q], chooser)
        or missing("Every query found its own animal first."),
        "<h3>The right animal first</h3>",
        _strips(retrieved, answerable_Q[right_Q], chooser)
        or missing("No query found its own animal first."),
    ]
    return section("retrieval", parts)


def _has_answer(retrieved: Retrieved) -> NDArray[np.bool_]:
    """Queries with an own animal's crop that they may be compared with."""
    return np.array(
        [
            bool(np.isfinite(row[retrieved.gallery_identity_G == identity]).any())
            for row, identity in zip(
                retrieved.similarity_QG, retrieved.query_identity_Q, strict=True
            )
        ],
        np.bool_,
    )


def _first_is_right(retrieved: Retrieved, query_Q: Indices) -> NDArray[np.bool_]:
    best_Q = retrieved.similarity_QG[query_Q].argmax(axis=1)
    right_Q: NDArray[np.bool_] = (
        retrieved.gallery_identity_G[best_Q] == retrieved.query_identity_Q[query_Q]
    )
    return right_Q


def _figures(retrieved: Retrieved, figures: Retrieval) -> str:
    tiles = (
        ("rank-1", figures.rank1, "the most similar picture shows the same animal"),
        ("rank-5", figures.rank5, "the same animal is among the first five"),
        ("mAP", figures.mean_ap, "how far up all pictures of the animal stand"),
    )
    shown = "".join(
        f"<li><b>{percent(value)}</b> {label}<span>{meaning}</span></li>"
        for label, value, meaning in tiles
    )
    animals = len(np.unique(retrieved.query_identity_Q))
    pictures = counted(len(retrieved.gallery_identity_G), "gallery picture")
    queries = counted(figures.num_queries, "query", "queries")
    counts = f"{queries} of {counted(animals, 'animal')} against {pictures}."
    if figures.num_skipped:
        counts += f" {counted(figures.num_skipped, 'query', 'queries')} left out: their animal is "
        counts += "not in the gallery."
    return f'<ul class="tiles">{shown}</ul>{paragraph(counts, "quiet")}'


def _reading_help() -> str:
    return paragraph(
        "Each row: a query, then the gallery pictures most similar to it, the most similar "
        "first, with the animal's name and the similarity (1 is the same picture, near 0 has "
        "nothing in common). A green frame with a tick is the same animal, a red frame with a "
        "cross another one. Good: ticks first. Look at the wrong rows for what misleads the "
        "encoder: background, pose, light, or a wrong name in the table. The queries are drawn at "
        "random within each group, so the rows do not show how frequent errors are; the figures "
        "above do."
    )


def _strips(retrieved: Retrieved, query_Q: Indices, chooser: np.random.Generator) -> str:
    chosen = chooser.choice(query_Q, min(_NUM_EACH, len(query_Q)), replace=False)
    return "\n".join(_strip(retrieved, int(query)) for query in chosen)


def _strip(retrieved: Retrieved, query: int) -> str:
    similarity_G = retrieved.similarity_QG[query]
    identity = str(retrieved.query_identity_Q[query])
    allowed = np.flatnonzero(np.isfinite(similarity_G))
    order = allowed[np.argsort(-similarity_G[allowed], kind="stable")]
    first_right = int(np.flatnonzero(retrieved.gallery_identity_G[order] == identity)[0]) + 1
    shown = [
        figure(
            retrieved.query_images_QHWC[query],
            f"query: {identity}",
            f"query<br>{name(identity)}",
            "query",
        )
    ]
    for row in order[:_NUM_GALLERY]:
        shown.append(gallery_figure(retrieved, int(row), identity, float(similarity_G[row])))
    place = ""
    if first_right > _NUM_GALLERY:
        place = paragraph(
            f"{name(identity)} itself first comes at place {first_right} of {len(order)}.", "quiet"
        )
    label = f"query {identity} and the most similar gallery pictures"
    return f'<div class="row">{strip(label, shown)}{place}</div>'


def gallery_figure(retrieved: Retrieved, row: int, wanted: str, similarity: float) -> str:
    """A gallery crop, framed by whether it shows the animal `wanted`."""
    identity = str(retrieved.gallery_identity_G[row])
    frame: Frame = "right" if identity == wanted else "wrong"
    return figure(
        retrieved.gallery_images_GHWC[row],
        f"{frame}: {identity}",
        f"{name(identity)}<br>{similarity:.2f}",
        frame,
    )
