"""What a run directory holds beside weights: the record of its settings, figures, clusters."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge import clusters
from edge.errors import FanclError, InputError
from edge.preprocess import InputSpec
from trainer import checkpoint
from trainer.backbone import LoadedBackbone
from trainer.bursts import BurstUse
from trainer.clip.settings import IndivaidConfig
from trainer.data import Crops
from trainer.encoder import Precision
from trainer.settings import FanclConfig
from trainer.supervised import SupervisedConfig

_NOT_SETTINGS = frozenset({"commit", "precision"})  # may differ when a run goes on
CLUSTER_COLUMNS = (
    "path", "sha256", "pseudo_label", "similarity_to_centre", "burst", "x", "y", "width", "height",
)  # fmt: skip


def refuse_foreign_folder(out: Path, is_begun: bool) -> None:
    """`is_begun`: it holds the search that this run begins with."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if not (out / checkpoint.CONFIG).is_file() and not is_begun:
            raise InputError(f"{out} holds other files; give --out a new folder for this run")


def read_config(run: Path, flag: str) -> dict[str, Any]:
    """config.json of a run; raises InputError where there is none, naming the flag in need."""
    path = run / checkpoint.CONFIG
    if not path.is_file():
        raise InputError(f"{run} is no run of fancl-train: {flag} needs one as SOURCE")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def boxes_of(run: Path, config: dict[str, Any]) -> Path | None:
    """The boxes file that a run was trained with; a name without a folder lies in the run's."""
    return run / config["boxes"]["path"] if config["boxes"] else None


def record_of(
    data: Path,
    boxes: Path | None,
    detector: dict[str, Any] | None,
    spec: InputSpec,
    loaded: LoadedBackbone,
    crops: Crops,
    bursts: BurstUse,
    config: FanclConfig | SupervisedConfig | IndivaidConfig,
) -> dict[str, Any]:
    """config.json: equal records mean the same run.

    With `detector`, which found them, the boxes are the run's own crops.csv.
    """
    found_by = {} if detector is None else {"detector": detector}
    return {
        "data": str(data.absolute()),
        "boxes": None if boxes is None else _boxes(boxes, in_run=detector is not None),
        "data_digest": crops.digest,
        "num_crops": len(crops),
        "input": dataclasses.asdict(spec),
        "backbone": dataclasses.asdict(loaded.spec)
        | {"weights": loaded.weights, "weights_sha256": loaded.sha256},
        "bursts": bursts,
        "settings": dataclasses.asdict(config),
        "precision": None,  # known once training begins
        "commit": _commit(),
        **found_by,
    }


def _boxes(boxes: Path, in_run: bool) -> dict[str, str]:
    path = boxes.name if in_run else str(boxes.resolve())
    return {"path": path, "sha256": _digest(boxes)}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _commit() -> str | None:
    """The project's own commit, where it runs from a checkout."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return None
    asked = subprocess.run(
        ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or None


def open_run(out: Path, record: dict[str, Any], say: Callable[[str], None]) -> bool:
    """Makes the run directory, or checks that it holds the same run; True when it is finished."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / checkpoint.CONFIG
    normal = json.loads(json.dumps(record))
    if not path.is_file():
        checkpoint.write_json(path, normal)
        return False
    before = json.loads(path.read_text(encoding="utf-8"))
    changed = _differences(before, normal)
    if changed:
        raise InputError(
            f"{out} holds another run (different: {', '.join(changed)}); "
            "give another --out, or the same settings to go on with it"
        )
    reports = read_rows(out / checkpoint.METRICS)
    done, total = len(reports), record["settings"]["schedule"]["epochs"]
    if done >= total:
        require_trained(reports)
        say(f"{out} is finished ({done} epochs); give another --out to train again")
        return True
    say(f"going on with {out} after epoch {done} of {total}")
    return False


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by column name; none where it is absent."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Names of the settings that differ, those inside a group as group.name."""
    found: list[str] = []
    for key in sorted(now.keys() - _NOT_SETTINGS):
        old, new = before.get(key, "absent"), now[key]
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(prefix + key)
    return found


def require_trained(rows: list[dict[str, str]]) -> None:
    """Raises FanclError where no epoch had anything to learn from."""
    if rows and num_skipped(rows) == len(rows):
        raise FanclError(
            "no epoch found clusters to learn from, so nothing was trained; see what was said of "
            "the clusters above or in metrics.csv, and change clustering.eps or clustering.k1 "
            "(--set), --bursts or --weights"
        )


def num_skipped(rows: list[dict[str, str]]) -> int:
    """How many of the latest epochs were skipped."""
    trained = [number for number, row in enumerate(rows, start=1) if row["loss"]]
    return len(rows) - max(trained, default=0)


def resolved_precision(out: Path) -> Precision | None:
    """What an earlier part of this run has trained in."""
    content = json.loads((out / checkpoint.CONFIG).read_text(encoding="utf-8"))
    stored: Precision | None = content.get("precision")
    return stored


def store_precision(out: Path, precision: Precision) -> None:
    content = json.loads((out / checkpoint.CONFIG).read_text(encoding="utf-8"))
    checkpoint.write_json(out / checkpoint.CONFIG, content | {"precision": precision})


def cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def write_clusters(
    out: Path,
    crops: Crops,
    burst_N: NDArray[np.int64],
    label_N: NDArray[np.int64],
    similarity_N: NDArray[np.float32],
) -> None:
    """clusters.csv: boxes in fractions of the picture, empty for a whole picture."""
    rows = []
    for index, fact in enumerate(crops.facts):
        box = fact.box
        rows.append(
            [
                fact.picture.name,
                fact.sha256,
                int(label_N[index]),
                cell(float(similarity_N[index])),
                int(burst_N[index]),
                *((box.x, box.y, box.width, box.height) if box else ("",) * 4),
            ]
        )
    checkpoint.write_rows(out / clusters.FILE_NAME, CLUSTER_COLUMNS, rows)
