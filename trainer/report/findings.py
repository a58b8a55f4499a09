"""What to look at first: a few sentences on the run, each leading to its section."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.text import counted
from trainer.data import Crops
from trainer.evaluation.metrics import Retrieval
from trainer.report.markup import link, percent, text
from trainer.report.record import RunRecord

# A cluster with more than a quarter of all crops holds many animals in any collection worth
# training on; an outlier does not take part in training.
_TOO_LARGE, _TOO_MANY_OUTLIERS = 0.25, 0.5


@dataclass(frozen=True, kw_only=True)
class Finding:
    sentence: str  # plain text
    trouble: bool
    anchor: str  # of the section that shows it


def find(record: RunRecord, crops: Crops, figures: Retrieval | None) -> list[Finding]:
    """Trouble first."""
    found = [
        *_of_epochs(record),
        *_of_clusters(record),
        *_of_crops(crops),
        *_of_retrieval(figures),
    ]
    return sorted(found, key=lambda one: not one.trouble)


def render_findings(findings: list[Finding]) -> str:
    rows = "\n".join(
        f'<li class="{"trouble" if one.trouble else "plain"}">'
        f"{'<strong>Look:</strong> ' if one.trouble else ''}{text(one.sentence)} "
        f"{link(one.anchor)}</li>"
        for one in findings
    )
    return f'<ul class="findings">\n{rows}\n</ul>'


def _of_epochs(record: RunRecord) -> list[Finding]:
    skipped_E = record.epochs.skipped
    done, planned = len(skipped_E), record.num_planned_epochs
    if not done:
        sentence = f"No epoch of {planned} has ended yet."
        return [Finding(sentence=sentence, trouble=True, anchor="curves")]
    if skipped_E.all():
        epochs = counted(done, "epoch")
        sentence = f"Nothing was trained: no epoch found clusters to learn from ({epochs})."
        return [Finding(sentence=sentence, trouble=True, anchor="curves")]
    found = []
    if done < planned:
        sentence = f"{done} of {counted(planned, 'epoch')} are done; the same command goes on."
        found.append(Finding(sentence=sentence, trouble=False, anchor="curves"))
    if skipped_E[-1]:
        sentence = "The last epoch was skipped: nothing could be learnt from its clusters."
        found.append(Finding(sentence=sentence, trouble=True, anchor="curves"))
    loss_E, stage_E = record.epochs.values("loss"), record.epochs.values("stage")
    assert loss_E is not None
    if stage_E is not None:  # each stage has a loss of its own
        loss_E = loss_E[stage_E == stage_E[-1]]
    known = loss_E[np.isfinite(loss_E)]
    sentence = f"The loss went from {known[0]:.3g} to {known[-1]:.3g}."
    if len(known) == 1:
        sentence = f"The loss of the only epoch that was trained is {known[0]:.3g}."
    found.append(Finding(sentence=sentence, trouble=False, anchor="curves"))
    return found


def _of_clusters(record: RunRecord) -> list[Finding]:
    if record.clusters is None:
        return []
    size_M, num_crops = record.clusters.sizes, len(record.clusters.label_N)
    if not len(size_M):
        sentence = "The last epoch put no crop into a cluster."
        return [Finding(sentence=sentence, trouble=True, anchor="clusters")]
    largest, left_out = size_M.max() / num_crops, 1 - size_M.sum() / num_crops
    sentence = (
        f"{counted(len(size_M), 'cluster')} in the end, {percent(largest)} of the crops in the "
        f"largest, {percent(left_out)} in none."
    )
    found = [Finding(sentence=sentence, trouble=False, anchor="clusters")]
    if len(size_M) == 1:
        sentence = "All crops that were clustered are in one cluster, so it tells no two apart."
        found.append(Finding(sentence=sentence, trouble=True, anchor="clusters"))
    elif largest > _TOO_LARGE:
        sentence = f"The largest cluster holds {percent(largest)} of all crops: a smaller"
        sentence += " clustering.eps splits it."
        found.append(Finding(sentence=sentence, trouble=True, anchor="clusters"))
    if left_out > _TOO_MANY_OUTLIERS:
        sentence = f"{percent(left_out)} of the crops are in no cluster and were not learnt from: "
        sentence += "a larger clustering.eps takes more in."
        found.append(Finding(sentence=sentence, trouble=True, anchor="clusters"))
    return found


def _of_crops(crops: Crops) -> list[Finding]:
    if not crops.skipped:
        return []
    picture, reason = crops.skipped[0]
    sentence = f"{counted(len(crops.skipped), 'picture')} could not be read, "
    sentence += f"the first: {picture}: {reason}."
    return [Finding(sentence=sentence, trouble=True, anchor="trained")]


def _of_retrieval(figures: Retrieval | None) -> list[Finding]:
    if figures is None or not figures.num_queries:
        return []
    sentence = (
        f"{percent(figures.rank1)} of {counted(figures.num_queries, 'query', 'queries')} find "
        f"their own animal first (rank-1), mAP is {percent(figures.mean_ap)}."
    )
    return [Finding(sentence=sentence, trouble=False, anchor="retrieval")]
