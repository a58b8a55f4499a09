"""Charts as SVG that stands inside the page: lines over epochs, two histograms.

matplotlib is imported when a chart is drawn, so that commands without a report start without it.
Sized for a column of 300 to 400 CSS pixels, on which the lettering is 11 to 13 pixels high.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainer.report.markup import text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

# Told apart by colour-blind readers (Okabe and Ito), and by the stroke without any colour.
_COLOURS = ("#0072b2", "#c04f00", "#00795c", "#7a4b94")
_STROKES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D")
_WIDTH, _HEIGHT = 3.9, 2.6  # inches, 72 SVG units each
_FEW_EPOCHS = 20
_LOOK: Any = {  # releases of matplotlib type their keys differently
    "svg.fonttype": "none",
    "svg.hashsalt": "fancl",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#5a6157",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e4de",
    "legend.frameon": False,
    "legend.fontsize": 10,
}


@dataclass(frozen=True, kw_only=True)
class Line:
    name: str
    values_E: Floats  # nan: no value in that epoch


def line_chart(
    anchor: str,
    epoch_E: Floats,
    lines: Sequence[Line],
    skipped_E: NDArray[np.bool_],
    from_zero: bool,
    alt: str,
) -> str:
    """Lines over epochs as an <svg>; skipped epochs are grey bands, single values are dots."""
    from matplotlib.ticker import MaxNLocator

    with _look():
        figure, axes = _new_chart()
        for epoch in epoch_E[skipped_E]:
            axes.axvspan(epoch - 0.5, epoch + 0.5, color="#e6e6e0", linewidth=0)
        # Small ones on a long line still show an epoch that stands alone between skipped ones.
        marker_size = 4.5 if len(epoch_E) <= _FEW_EPOCHS else 1.8
        styles = zip(_COLOURS, _STROKES, _MARKERS, strict=True)
        for line, (colour, stroke, marker) in zip(lines, styles, strict=False):
            axes.plot(
                epoch_E, line.values_E, stroke, color=colour, marker=marker,
                markersize=marker_size, linewidth=2, label=line.name,
            )  # fmt: skip
        axes.set_xlabel("epoch")
        axes.set_xlim(float(epoch_E.min()) - 0.6, float(epoch_E.max()) + 0.6)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
        drawn = np.concatenate([line.values_E[np.isfinite(line.values_E)] for line in lines])
        whole = bool((drawn == drawn.round()).all())
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=whole))
        if from_zero:
            top = 1.08 * float(drawn.max()) or 1.0
            axes.set_ylim(-0.03 * top, top)  # a line along zero is seen whole
        _add_legend(axes, len(lines))
        return _svg(figure, anchor, alt)


@dataclass(frozen=True, kw_only=True)
class Bars:
    name: str
    share_B: Floats  # of the pairs, per bin


def histogram_chart(anchor: str, edge_B1: Floats, groups: Sequence[Bars], alt: str) -> str:
    """Histograms over the same bins, one over the other, as an <svg>; heights in %."""
    with _look():
        figure, axes = _new_chart()
        for group, colour, stroke in zip(groups, _COLOURS, _STROKES, strict=False):
            axes.stairs(
                100 * group.share_B, edge_B1, fill=True, facecolor=colour + "40",
                edgecolor=colour, linestyle=stroke, linewidth=1.6, label=group.name,
            )  # fmt: skip
        axes.set_xlabel("similarity")
        axes.set_ylabel("% of the pairs")
        axes.set_ylim(bottom=0)
        _add_legend(axes, len(groups))
        return _svg(figure, anchor, alt)


def figure_of(chart: str, title: str, caption: str) -> str:
    """A chart with what it shows and how to read it; both are markup."""
    return (
        f'<figure class="chart"><h3>{title}</h3>{chart}<figcaption>{caption}</figcaption></figure>'
    )


def _look() -> AbstractContextManager[None]:
    import matplotlib as mpl

    return mpl.rc_context(_LOOK)


def _new_chart() -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    return figure, figure.add_subplot()


def _add_legend(axes: Axes, num_entries: int) -> None:
    if num_entries > 1:
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=num_entries, borderaxespad=0.2,
            handlelength=1.8, columnspacing=1.2, handletextpad=0.5,
        )  # fmt: skip


def _svg(figure: Figure, anchor: str, alt: str) -> str:
    """The figure as an element: no header, no style for the whole page, ids of its own."""
    with io.StringIO() as file:
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
        drawn = file.getvalue()
    box = re.search(r'viewBox="([^"]+)"', drawn)
    assert box is not None
    inside = drawn[drawn.index(">", box.end()) + 1 :]
    inside = re.sub(r"<style.*?</style>", "", inside, flags=re.DOTALL)
    for before in (' id="', 'href="#', "url(#"):
        inside = inside.replace(before, f"{before}{anchor}-")
    return f'<svg viewBox="{box[1]}" role="img" aria-label="{text(alt)}">{inside}'
