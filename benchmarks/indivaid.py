"""IndivAID, its relatives and the supervised reference on real animals, beside the frozen tower.

    python benchmarks/indivaid.py --data FOLDER --weights FOLDER --out benchmarks/results/indivaid

The image tower is a MobileNetV2 of ImageNet inside a CLIP model whose text tower is small and
starts at RANDOM: the rows tell whether the parts work together, not what CLIP's language adds.
One row a finished run in runs.csv; the command goes on where it stopped. Every row of a set
shares weights, input size, epochs and evaluator; figures are those of the last epoch. The last
method is also exported, its gallery enrolled and its queries watched: `device` is the share of
queries for which the device's nearest animal is the evaluator's. `--full` takes both sets and two
seeds, the plain form one set and one seed.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from runs import cell, command, read, require_folders, weights_file, write

SIZE, BACKBONE, NOUN = "128x128", "mobilenetv2_100", "cow"
SETS = ("opencows", "holstein")
SHORT = [
    "stage2.epochs=10", "stage2.warm_up_epochs=2", "stage2.first_decay=7",
    "stage2.second_decay=9",
]  # fmt: skip
TEXT = ["stage1.epochs=10", "stage1.learning_rate=3e-3", "stage1.warm_up_epochs=2"]
METHODS: dict[str, list[str]] = {
    "fine-tuned without text": ["--method", "clip-finetune"],
    "clip-reid": ["--method", "clip-reid"],
    "indivaid (mean)": ["--method", "indivaid", "--set", "merge.kind=mean"],
    "indivaid (attention)": ["--method", "indivaid"],
    "supervised": ["--method", "supervised"],
}
MODEL = {
    "embed_dim": 256,
    "vision_cfg": {
        "timm_model_name": BACKBONE,
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": 128,
    },
    "text_cfg": {
        "context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 2,
    },
}  # fmt: skip
ON_DEVICE = "indivaid (attention)"
COLUMNS = (
    "set", "method", "seed", "mAP", "rank1", "queries", "text_top1", "device", "minutes",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Job:
    name: str  # of the set
    method: str
    seed: int


def main(
    data: Annotated[Path, typer.Option(help="Folder with one folder a set, each a metadata.csv.")],
    weights: Annotated[Path, typer.Option(help="Folder with BACKBONE*.safetensors.")],
    out: Annotated[Path, typer.Option(help="Folder for runs.csv, table.md and the runs.")],
    full: Annotated[bool, typer.Option("--full", help="Both sets, two seeds.")] = False,
) -> None:
    """Train, evaluate, sum up."""
    require_folders(data, weights)
    out.mkdir(parents=True, exist_ok=True)
    (out / "clip.json").write_text(json.dumps(MODEL), encoding="utf-8")
    rows = read(out / "runs.csv")
    done = {(row["set"], row["method"], row["seed"]) for row in rows}
    todo = [job for job in _jobs(full) if (job.name, job.method, str(job.seed)) not in done]
    for number, job in enumerate(todo, start=1):
        print(f"{number}/{len(todo)}: {job.name}, {job.method}, seed {job.seed}", flush=True)
        rows += _run(job, data, weights, out, {(row["set"], row["method"]) for row in rows})
        write(out / "runs.csv", COLUMNS, rows)
    text = _table(rows)
    (out / "table.md").write_text(text, encoding="utf-8")
    print(text)


def _jobs(full: bool) -> Iterator[Job]:
    for seed in (1, 2) if full else (1,):
        for name in SETS if full else SETS[:1]:
            for method in METHODS:
                yield Job(name=name, method=method, seed=seed)


def _run(
    job: Job, data: Path, weights: Path, out: Path, have: set[tuple[str, str]]
) -> list[dict[str, str]]:
    """The row of a run; with the first run on CLIP of a set also its frozen control."""
    began = time.monotonic()
    run = out / "run"
    shutil.rmtree(run, ignore_errors=True)  # of a row that was interrupted
    table = data / job.name / "metadata.csv"
    of_clip = job.method != "supervised"
    changes = [*SHORT, *(TEXT if job.method != "fine-tuned without text" else [])]
    own = ["--backbone", BACKBONE, "--epochs", "10"]
    if of_clip:
        own = ["--backbone", f"open_clip:{out / 'clip.json'}", "--preset", "clip-reid-rn50"]
        own += ["--noun", NOUN, *(word for one in changes for word in ("--set", one))]
    command(
        "fancl-train", table, "--out", run, "--weights", weights_file(weights, BACKBONE),
        "--size", SIZE, "--seed", job.seed, "--precision", "fp32", *METHODS[job.method], *own,
    )  # fmt: skip
    queries = out / "queries.csv"
    figures = json.loads(command("fancl-eval", run, table, "--json", "--per-query", queries))
    tops = [row["description_top1"] for row in read(run / "metrics.csv") if _has_top1(row)]
    agreed = _device_agreement(run, table, queries) if job.method == ON_DEVICE else None
    shutil.rmtree(run)
    row = {
        "set": job.name,
        "method": job.method,
        "seed": str(job.seed),
        "mAP": f"{figures['mAP']:.4f}",
        "rank1": f"{figures['rank1']:.4f}",
        "queries": str(figures["queries"]),
        "text_top1": tops[-1] if tops else "",
        "device": "" if agreed is None else f"{agreed:.4f}",
        "minutes": f"{(time.monotonic() - began) / 60:.1f}",
    }
    if not of_clip or (job.name, "frozen") in have:
        return [row]
    frozen = next(value for key, value in figures["controls"].items() if key.startswith("frozen"))
    control = dict.fromkeys(COLUMNS, "") | {"set": job.name, "method": "frozen"}
    control |= {key: f"{frozen[key]:.4f}" for key in ("mAP", "rank1")}
    return [control | {"queries": str(int(frozen["queries"]))}, row]


def _device_agreement(run: Path, table: Path, queries: Path) -> float:
    """The share of queries whose nearest animal is the same on the device."""
    command("fancl-export", run, "--onnx")
    state, inbox, media = run / "state", run / "inbox", run / "media.csv"
    device = ("--model", run / "model.onnx", "--state", state)
    command("edge-gallery", "enroll", table, "--split", "gallery", *device)
    inbox.mkdir()
    expected = {Path(row["path"]).name: row for row in read(queries)}
    for name, row in expected.items():
        shutil.copy2(table.parent / row["path"], inbox / name)
    command("edge-watch", inbox, "--once", *device)
    command("edge-report", "csv", "--level", "media", "--out", media, "--state", state)
    found = {Path(row["file_path"]).name: row["best_name"] for row in read(media)}
    other = [row for name, row in expected.items() if found[name] != row["best_identity"]]
    leads = [float(row["best_similarity"]) - float(row["runner_up_similarity"]) for row in other]
    if other:
        print(f"{len(other)} of {len(expected)} differ; leads of at most {max(leads):.6f}")
    return 1 - len(other) / len(expected)


def _has_top1(row: dict[str, str]) -> bool:
    return bool(row.get("description_top1"))


def _table(rows: list[dict[str, str]]) -> str:
    lines = [
        "| set | method | seeds | mAP | rank-1 | same on the device | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in SETS:
        for method in ("frozen", *METHODS):
            own = [row for row in rows if (row["set"], row["method"]) == (name, method)]
            if own:
                cells = [
                    cell(own, "mAP", 100, 1),
                    cell(own, "rank1", 100, 1),
                    cell(own, "device", 100, 1),
                    cell(own, "minutes", 1, 1),
                ]
                lines.append("| " + " | ".join([name, method, str(len(own)), *cells]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
