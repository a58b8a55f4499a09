"""The report of a finished run, written anew with what an evaluation has found."""

from __future__ import annotations

from pathlib import Path

from edge.detection.boxes_file import BoxesFile
from edge.pictures import read_collection
from edge.preprocess import InputSpec
from trainer.data import load_crops
from trainer.evaluation.retrieved import Retrieved
from trainer.narrator import Narrator
from trainer.report.page import write_report
from trainer.rundir import boxes_of, read_config


def rewrite_report(run: Path, retrieved: Retrieved, narrator: Narrator) -> Path:
    """The path of the report; the pictures that the run was trained on are read once more.

    Raises InputError where `run` is no run directory, or its pictures are gone or others.
    """
    record = read_config(run, "--report")
    boxes = boxes_of(run, record)
    crops = load_crops(
        read_collection(Path(record["data"]), split="train"),
        InputSpec(**record["input"]),
        BoxesFile(boxes) if boxes else None,
        cache_folder=run.parent,
        progress=lambda done, total: narrator.progress("reading training pictures", done, total),
    )
    return write_report(run, crops, retrieved)
