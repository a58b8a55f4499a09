"""What was trained: the settings that matter in a short table, all of them in a list to open."""

from __future__ import annotations

import json
from collections.abc import Sequence
from string import Formatter
from typing import Any

from edge.text import counted
from trainer.data import Crops
from trainer.report.markup import section, text
from trainer.report.record import RunRecord

_DIGESTS = {"data_digest", "backbone_weights_sha256", "commit"}
_DIGITS_OF_DIGEST = 12

# A row is shown where config.json knows all that it names; groups are joined with "_".
_ROWS = (
    ("Method", "{settings_method}"),
    ("Backbone", "{backbone_name}, input {input_height} x {input_width} pixels"),
    ("Weights", "{backbone_weights}"),
    ("Weights, sha256", "{backbone_weights_sha256}"),
    ("Photos", "{data}"),
    ("Boxes", "{boxes_path}"),
    ("Boxes found by", "{detector_name}"),
    ("Photos, digest", "{data_digest}"),
    (
        "Batches",
        "{settings_schedule_iterations} an epoch, each of {settings_batch_clusters} groups x "
        "{settings_batch_images} crops",
    ),
    (
        "Descriptions",
        "{settings_prompt_template} with the noun {settings_prompt_noun}; "
        "{settings_stage1_epochs} epochs by {settings_stage1_loss}, merged by "
        "{settings_merge_kind}",
    ),
    (
        "Image tower",
        "{settings_stage2_epochs} epochs, batches of {settings_stage2_identities} identities x "
        "{settings_stage2_images} crops, learning rate {settings_stage2_learning_rate}",
    ),
    ("Learning rate", "{settings_schedule_learning_rate}"),
    ("Learning rate falls", "to a tenth every {settings_schedule_decay_epochs} epochs"),
    (
        "Clustering",
        "of {settings_clustering_unit} by DBSCAN, eps {settings_clustering_eps}, at least "
        "{settings_clustering_min_samples} together; Jaccard distance over "
        "k1 = {settings_clustering_k1}, k2 = {settings_clustering_k2} neighbours",
    ),
    ("Bursts", "{bursts}"),
    ("Warm-up", "{settings_warm_up_steps} steps on bursts"),
    (
        "FANA",
        "noise ({settings_fana_mode}) on {settings_fana_area} of the picture, where the layer "
        "{settings_fana_layer} answers most",
    ),
    ("Memory", "keeps {settings_memory_keep} of a centre, {settings_memory_update} updates"),
    ("Temperature", "{settings_loss_temperature}"),
    ("Augmentation", "{settings_augment_kind}"),
    (
        "Kept encoder",
        "{settings_kept_start_share} of the starting weights; whitening within clusters: "
        "{settings_kept_whitening}",
    ),
    ("Precision", "{precision}"),
    ("Seed", "{settings_seed}"),
    ("Commit", "{commit}"),
)
_WEIGHTS = {
    "none": "random: no pretrained ones were given",
    "imagenet": "of ImageNet",
}


def render_settings(record: RunRecord, crops: Crops) -> str:
    rows = [*_known_rows(record.config), *_counted_rows(record, crops)]
    lines = "\n".join(
        f'<tr><th scope="row">{text(label)}</th><td>{text(value)}</td></tr>'
        for label, value in rows
    )
    whole = json.dumps(record.config, indent=2, sort_keys=True)
    return section(
        "trained",
        [
            f'<table class="facts"><tbody>\n{lines}\n</tbody></table>',
            "<details><summary>All settings (config.json)</summary>"
            f'<pre tabindex="0">{text_lines(whole)}</pre></details>',
        ],
    )


def text_lines(raw: str) -> str:
    """Escaped text that keeps its line ends."""
    return "\n".join(text(line) for line in raw.split("\n"))


def _known_rows(config: dict[str, Any]) -> Sequence[tuple[str, str]]:
    known = _flat(config)
    weights = known.get("backbone_weights", "")
    known["backbone_weights"] = _WEIGHTS.get(weights, weights)
    for key in _DIGESTS & known.keys():
        known[key] = known[key][:_DIGITS_OF_DIGEST]
    if known["settings_method"] != "fancl":
        known = {key: value for key, value in known.items() if not key.startswith("settings_fana")}
    if known.get("settings_stage1_epochs") == "0":
        del known["settings_prompt_template"]
    if known.get("settings_warm_up_steps") == "0":
        del known["settings_warm_up_steps"]
    known.setdefault("settings_clustering_eps", "chosen each epoch")
    return [
        (label, pattern.format(**known))
        for label, pattern in _ROWS
        if _names(pattern) <= known.keys()
    ]


def _flat(group: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as text under joined names, without those that are not set."""
    found: dict[str, str] = {}
    for key, value in group.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}_")
        elif value is not None:
            found[prefix + key] = f"{value:g}" if isinstance(value, float) else str(value)
    return found


def _names(pattern: str) -> set[str]:
    return {field for _, field, _, _ in Formatter().parse(pattern) if field}


def _counted_rows(record: RunRecord, crops: Crops) -> list[tuple[str, str]]:
    num_pictures = len({fact.picture.name for fact in crops.facts})
    counts = [f"{counted(len(crops), 'crop')} from {counted(num_pictures, 'picture')}"]
    if crops.num_without_animal:
        counts.append(f"{counted(crops.num_without_animal, 'picture')} without an animal")
    if crops.num_unfit:
        counts.append(
            f"{counted(crops.num_unfit, 'box', 'boxes')} too small, too poor or of people"
        )
    if crops.skipped:
        counts.append(f"{counted(len(crops.skipped), 'picture')} could not be read")
    rows = [("Counts", "; ".join(counts))]
    seconds_E = record.epochs.values("seconds")
    if seconds_E is not None:
        epochs = counted(len(record.epochs.rows), "epoch")
        rows.append(("Time", f"{_duration(float(seconds_E.sum()))} for {epochs}"))
    return rows


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
