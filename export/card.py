"""The model card: what a model file says of itself, as one self-contained page.

Pure but for `write_card`: a manifest in, HTML out; there is no second source of figures. Every
text of the manifest may be hostile and is escaped. The sentences are those that the device prints
(edge/model_file/describe.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from edge.model import PUBLISHED, Manifest
from edge.model_file import describe
from edge.text import counted
from trainer.checkpoint import write_atomically
from trainer.report.markup import text

_Rows = Mapping[str, str]  # label to markup
_NOT_STATED = '<span class="quiet">not stated</span>'


def write_card(model_file: Path, manifest: Manifest) -> Path:
    """Writes the card beside the model file: model.onnx gets model-card.html."""
    path = model_file.with_name(f"{model_file.stem}-card.html")
    write_atomically(path, render_card(manifest).encode())
    return path


def render_card(manifest: Manifest) -> str:
    template = resources.files("export").joinpath("card.html").read_text(encoding="utf-8")
    species = f" for {_named(manifest.species)}" if manifest.species is not None else ""
    return Template(template).substitute(
        title=f"{text(manifest.name)}: model card",
        heading=_named(manifest.name),
        subtitle=f"A model{species}: {text(describe.made(manifest))}, "
        f"{describe.PRECISIONS[manifest.precision]}",
        tiles="\n".join(_tiles(manifest)),
        notices=_notices(manifest),
        sections="\n".join(
            (
                _use(manifest),
                _quality(manifest),
                _thresholds(manifest),
                _precision(manifest),
                _training(manifest),
                _installing(manifest),
                _licence(manifest),
            )
        ),
    )


def _tiles(manifest: Manifest) -> Iterator[str]:
    figures, decision = manifest.evaluation, manifest.decision
    rates = {
        "rank-1": None if figures is None else figures.rank1,
        "mAP": None if figures is None else figures.mAP,
        "strangers given a known name": decision.wrong_name_rate,
        "known animals called new": decision.false_new_rate,
    }
    for words, rate in rates.items():
        shown = "unknown" if rate is None else describe.percent(rate)
        yield f"<li><b>{shown}</b>{words}</li>"


def _notices(manifest: Manifest) -> str:
    notices = []
    if manifest.evaluation is None:
        notices.append(f"How well it tells animals apart was not measured. {_chance(manifest)}")
    elif manifest.evaluation.source == "pseudo-labels":
        notices.append(f"Rank-1 and mAP were measured on pseudo-labels. {describe.OPTIMISTIC}")
    if manifest.decision.source == "pseudo-labels":
        notices.append(f"The thresholds come from pseudo-labels. {describe.OPTIMISTIC}")
    if manifest.fidelity is not None and manifest.fidelity.forced:
        notices.append("It lost more by its low precision than was tolerated, and was kept.")
    return "\n".join(f'<p class="notice">{notice}</p>' for notice in notices)


def _chance(manifest: Manifest) -> str:
    """What a blind guess would give, where the manifest tells how many there are to guess among."""
    clusters = manifest.training.counts.get("clusters", 0)
    if clusters < 1:
        return "It may do no better than a blind guess."
    return (
        f"It may do no better than a blind guess, which among the {counted(clusters, 'group')} "
        f"of its training is right in {describe.percent(1 / clusters)}."
    )


def _use(manifest: Manifest) -> str:
    animals = "the animals of its training pictures"
    if manifest.species is not None:
        animals = f"{_named(manifest.species)}, as in its training pictures"
    return _section(
        "What it is for",
        f"It tells individual animals apart: {animals}. It turns a crop of one animal into "
        f"{counted(manifest.embedding_dim, 'number')}; crops of one animal get similar numbers. "
        "Names come from a gallery of known animals on the device.",
        "It is made to propose; a person decides what matters. A similarity is not a probability"
        " (there is no calibration in this file), and nothing here finds animals in a picture.",
        "Other species, other cameras, another season: measure it there first with "
        "<code>fancl-eval</code>. It is not for recognising people.",
    )


def _quality(manifest: Manifest) -> str:
    figures = manifest.evaluation
    sentence = _sentence(describe.measured(figures))
    if figures is None:
        return _section("How good it is", sentence)
    rows = {
        "rank-1": describe.percent(figures.rank1),
        "mAP": describe.percent(figures.mAP),
        "queries": str(figures.queries),
        "gallery": str(figures.gallery),
        "protocol": text(figures.protocol),
        "who is who from": text(figures.source),
    }
    return _section("How good it is", sentence, rows=rows)


def _thresholds(manifest: Manifest) -> str:
    decision = manifest.decision
    rows = {
        "match at or above": _number(decision.match_threshold),
        "new below": _number(decision.new_threshold),
        "strangers given a known name": _rate(decision.wrong_name_rate),
        "known animals called new": _rate(decision.false_new_rate),
        "fitted on": _NOT_STATED if decision.source is None else text(decision.source),
    }
    return _section(
        "When an animal gets a name",
        _sentence(describe.thresholds(decision)),
        _sentence(describe.error_rates(decision)),
        rows=rows if decision.match_threshold is not None else {},
    )


def _precision(manifest: Manifest) -> str:
    golden = manifest.golden
    return _section(
        "What its precision costs",
        _sentence(describe.cost_of_precision(manifest)),
        f"{counted(golden.shape[0], 'test picture')} with their embeddings are in the file; a "
        f"device must reproduce them to a cosine of {golden.min_cosine} or refuses the model.",
    )


def _training(manifest: Manifest) -> str:
    training = manifest.training
    settings = _definitions({key: text(str(value)) for key, value in _flat(training.config)})
    counts = {text(what): str(number) for what, number in sorted(training.counts.items())}
    if manifest.method == PUBLISHED:
        return _section(
            "How it was trained",
            f"Not by this program: {text(describe.made(manifest))}. Who published it says on what "
            "it was trained, and under which licence.",
            more=f"<details><summary>Every setting</summary>{settings}</details>",
        )
    return _section(
        "How it was trained",
        f"By {text(describe.made(manifest))}.",
        rows={
            **counts,
            "training pictures (sha256)": f"<code>{text(training.data_digest)}</code>",
            "commit of fancl": _NOT_STATED
            if training.commit is None
            else f"<code>{text(training.commit)}</code>",
        },
        more=f"<details><summary>Every setting</summary>{settings}</details>" if settings else "",
    )


def _installing(manifest: Manifest) -> str:
    return _section(
        "How to install it",
        "Copy the file to the device, then:",
        more="<pre>edge-admin model verify FILE\nedge-admin model install FILE</pre>\n"
        "<p>Animals enrolled with another encoder must be enrolled again.</p>"
        + _definitions(
            {
                "encoder": f"<code>{text(manifest.encoder_id)}</code>",
                "takes": text(describe.taken_in(manifest.input)),
                "gives": f"{manifest.embedding_dim} numbers of length 1 together",
                "format version": str(manifest.format_version),
            }
        ),
    )


def _licence(manifest: Manifest) -> str:
    return _section("Licence of the weights", _sentence(describe.licence(manifest)))


def _section(heading: str, *paragraphs: str, rows: _Rows | None = None, more: str = "") -> str:
    body = "\n".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    return f"<section>\n<h2>{heading}</h2>\n{body}\n{_definitions(rows or {})}{more}\n</section>"


def _definitions(rows: _Rows) -> str:
    if not rows:
        return ""
    body = "\n".join(f"<dt>{label}</dt><dd>{value}</dd>" for label, value in rows.items())
    return f"<dl>\n{body}\n</dl>"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested settings as `schedule.epochs`, escaped."""
    for key, value in sorted(settings.items()):
        where = f"{prefix}{text(str(key))}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{where}.")
        else:
            yield where, "none" if value is None else value


def _sentence(raw: str) -> str:
    """A sentence of the device: commands as such, no line break before a percent sign."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text(raw)).replace(" %", "&nbsp;%")


def _named(raw: str) -> str:
    """A name of somebody else's choosing; <bdi> keeps its writing direction to itself."""
    return f"<bdi>{text(raw)}</bdi>"


def _number(value: float | None) -> str:
    return _NOT_STATED if value is None else f"{value:.3f}"


def _rate(value: float | None) -> str:
    return "not measured" if value is None else describe.percent(value)
