"""report.html: the sections put together and written into the run directory.

One file that asks for nothing outside itself: pictures and charts are inside, there is no script.
Every name on it may be hostile (they come from whoever filled the folders) and goes through
`trainer.report.markup`.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from string import Template

from trainer import checkpoint
from trainer.checkpoint import StoredEncoder, load_encoder, write_atomically
from trainer.data import Crops
from trainer.evaluation.retrieved import Retrieved
from trainer.report.confusion import render_confusion
from trainer.report.curves import render_curves, render_scores
from trainer.report.findings import find, render_findings
from trainer.report.markup import SECTIONS, link, text
from trainer.report.noise import render_noise
from trainer.report.pictures import SIGNS
from trainer.report.record import RunRecord, read_record
from trainer.report.settings import render_settings
from trainer.report.sheets import render_sheets
from trainer.report.similarity import render_similarity
from trainer.report.strips import figures_of, render_retrieval

REPORT = "report.html"


def write_report(run: Path, crops: Crops, retrieved: Retrieved | None) -> Path:
    """The path of the report on `run`, written whole or not at all.

    `crops` are those the run was trained on; `retrieved` is None where no animals are known.
    Raises InputError when the run directory cannot be read or was trained on other crops.
    """
    record = read_record(run, crops)
    path = run / REPORT
    write_atomically(path, render_page(record, crops, retrieved).encode("utf-8"))
    return path


def render_page(record: RunRecord, crops: Crops, retrieved: Retrieved | None) -> str:
    stored = _encoder(record.folder)
    figures = None if retrieved is None else figures_of(retrieved)
    sections = [
        render_settings(record, crops),
        render_curves(record),
        render_retrieval(retrieved, figures, render_scores(record)),
        render_similarity(retrieved, crops, record.clusters, stored),
        render_confusion(retrieved),
        render_sheets(record, crops),
        render_noise(record, crops, stored),
    ]
    height, width = crops.images_NHWC.shape[1:3]
    return Template(_resource("page.html")).substitute(
        title=text(f"Training run {record.folder.absolute().name}"),
        style=_resource("page.css"),
        crop_style=_crop_style(width / height),
        signs=SIGNS,
        findings=render_findings(find(record, crops, figures)),
        links="\n".join(link(anchor) for anchor in SECTIONS),
        sections="\n".join(sections),
        size=f"{height} x {width}",
    )


def _encoder(run: Path) -> StoredEncoder | None:
    """None before the first epoch that trains anything."""
    return load_encoder(run) if (run / checkpoint.ENCODER).is_file() else None


def _crop_style(aspect: float) -> str:
    """Widths of a crop: seven fill a row of the page; on a phone three and the edge of a fourth.

    Tall crops are narrower, so that a row is not higher than needed.
    """
    wide, narrow = 9 * min(aspect**0.5, 1), 5.6 * min(max(aspect**0.5, 0.8), 1.4)
    return f".crop {{ --wide: {wide:.2f}rem; --narrow: {narrow:.2f}rem; }}"


def _resource(file_name: str) -> str:
    return resources.files("trainer.report").joinpath(file_name).read_text(encoding="utf-8")
