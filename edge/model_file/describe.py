"""A model's manifest in words: what the device prints, and what the model card says.

Every sentence comes from the manifest alone. Names in it are as they stand: whoever prints or
shows them escapes them.
"""

from __future__ import annotations

from edge.model import PUBLISHED, Decision, Evaluation, Fidelity, Manifest
from edge.preprocess import InputSpec
from edge.text import counted

_LABELLED_BY = {
    "labels": "labelled pictures",
    "pseudo-labels": "the groups that training itself made (pseudo-labels)",
}
PRECISIONS = {"fp32": "32-bit numbers", "fp16": "16-bit numbers", "int8": "8-bit whole numbers"}
OPTIMISTIC = (
    "Pseudo-labels are the program's own guess who is who, so figures from them are optimistic."
)


def percent(share: float) -> str:
    """`12.3 %`; a share that is neither nothing nor all is never shown as such."""
    if 0 < share < 0.0005:
        return "below 0.1 %"
    if 0.9995 <= share < 1:
        return "above 99.9 %"
    return f"{100 * share:.1f} %"


def made(manifest: Manifest) -> str:
    if manifest.method == PUBLISHED:
        return f"published encoder {manifest.backbone}"
    return f"{manifest.method} on {manifest.backbone}"


def taken_in(spec: InputSpec) -> str:
    how = "squashed to that size"
    if spec.resize == "letterbox":
        how = f"fitted into it with grey {spec.pad_value} around"
    return f"RGB crops of {spec.width} x {spec.height} pixels (width x height), {how}"


def measured(evaluation: Evaluation | None) -> str:
    """How well this very file finds animals."""
    if evaluation is None:
        return (
            "How well it tells animals apart was not measured. It may do no better than chance: "
            "measure it with `fancl-eval` on pictures whose animals you know."
        )
    return (
        f"Asked about {counted(evaluation.queries, 'picture')} among "
        f"{counted(evaluation.gallery, 'picture')}, the most similar one showed the same animal "
        f"in {percent(evaluation.rank1)} (rank-1); mean average precision (mAP) was "
        f"{percent(evaluation.mAP)}. Who shows which animal comes from "
        f"{_LABELLED_BY[evaluation.source]}; the protocol was {evaluation.protocol}."
    )


def cost_of_precision(manifest: Manifest) -> str:
    """What a low precision changed, beside the fp32 file it was made from."""
    fidelity, kept_as = manifest.fidelity, PRECISIONS[manifest.precision]
    if manifest.precision == "fp32":
        return f"Its weights are kept as {kept_as}, as they were trained: nothing was rounded."
    if fidelity is None:
        return f"Its weights are kept as {kept_as}. What that cost was not measured."
    return " ".join(
        (
            f"Its weights are kept as {kept_as}. On {counted(fidelity.num_crops, 'crop')} its "
            f"embeddings have a mean cosine of {fidelity.mean_cosine:.4f} with those of the "
            f"32-bit file, and {fidelity.low_cosine:.4f} or more in 99 of 100 crops.",
            _figures_beside(manifest.evaluation, fidelity),
        )
    )


def _figures_beside(evaluation: Evaluation | None, fidelity: Fidelity) -> str:
    before = (
        f"The 32-bit file had rank-1 {percent(fidelity.rank1_fp32)} and mAP "
        f"{percent(fidelity.mAP_fp32)}"
    )
    if evaluation is None:
        return f"{before}; those of this file were not measured."
    lost = 100 * (fidelity.mAP_fp32 - evaluation.mAP)
    change = f"{abs(lost):.2f} points of mAP {'lost' if lost > 0 else 'gained'}"
    tolerated = f"a loss of {100 * fidelity.tolerated_mAP_loss:.2f} was tolerated"
    forced = ". It lost more than that and was kept all the same" if fidelity.forced else ""
    return (
        f"{before}, this one {percent(evaluation.rank1)} and {percent(evaluation.mAP)}: {change}; "
        f"{tolerated}{forced}."
    )


def thresholds(decision: Decision) -> str:
    """When an animal gets a name, and where the limits come from."""
    if decision.match_threshold is None or decision.new_threshold is None:
        return (
            "No thresholds travel with it: until a gallery has ten individuals and measures its "
            "own, a person has to look at every animal."
        )
    source = _LABELLED_BY[decision.source] if decision.source else "an unknown source"
    return (
        f"An animal is a match at a similarity of {decision.match_threshold:.3f} or more and new "
        f"below {decision.new_threshold:.3f}; between them a person looks. These thresholds were "
        f"fitted on {source}; a gallery of ten individuals or more measures its own."
    )


def error_rates(decision: Decision) -> str:
    """What to expect at the thresholds."""
    if decision.match_threshold is None:
        return "Without thresholds there are no error rates."
    wrong, new = decision.wrong_name_rate, decision.false_new_rate
    sentences = [
        "How often a stranger gets a known name was not measured."
        if wrong is None
        else f"Of 100 visits of strangers expect about {100 * wrong:.0f} to get a known name.",
        "How often a known animal is called new was not measured."
        if new is None
        else f"Of 100 visits of known animals expect about {100 * new:.0f} to be called new.",
    ]
    if decision.source == "pseudo-labels":
        sentences.append(OPTIMISTIC)
    return " ".join(sentences)


def licence(manifest: Manifest) -> str:
    if manifest.licence is None:
        return "The licence of the weights is not stated: ask who made them before passing them on."
    return f"The weights are licensed: {manifest.licence}."
