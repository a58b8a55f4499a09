"""The whole loop on a drawn world, by the commands a user would type, scored against the truth.

python -m trainer.demo --out demo --world-seed 1 --train-seed 1
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from edge.detection.boxes_file import BoxesFile
from edge.errors import FanclError, InputError
from edge.pictures import read_collection
from trainer import checkpoint
from trainer.synthetic import draw_world


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One drawn event in the inbox, and what the device made of it."""

    encounter: str
    identity: str
    known: bool
    camera: str
    decision: str
    best_name: str  # the most similar individual, whatever was decided


@dataclass(frozen=True, kw_only=True)
class Score:
    """Shares in [0, 1]; `known` and `strangers` are counts of events."""

    world_seed: int
    train_seed: int
    known: int
    strangers: int
    rank1: float  # known animals whose most similar individual is the right one
    rank1_untrained: float  # the same with the encoder before training
    named_right: float  # known animals: decision match, right name
    named_wrong: float
    known_called_new: float
    stranger_named: float  # strangers: decision match
    minutes: float


def run_demo(out: Path, world_seed: int, train_seed: int) -> Score:
    """Draw, train, export, enrol, watch, report, score. Raises InputError if `out` is not empty."""
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty; remove it or give --out another folder")
    began = time.monotonic()
    world, run, state = out / "world", out / "run", out / "state"
    model = run / "model.onnx"
    _say(f"Drawing a world from seed {world_seed}: three groups of animals that share no picture")
    draw_world(world, world_seed)
    _run(
        "fancl-train", world / "train", "--boxes", world / "train-boxes.json", "--out", run,
        "--backbone", "small-cnn", "--seed", train_seed,
    )  # fmt: skip
    _run("fancl-export", run, "--onnx", model, "--name", "demo")
    _run("edge-gallery", "enroll", world / "gallery", "--model", model, "--state", state)
    _run(
        "edge-watch", world / "inbox", "--once", "--boxes", world / "inbox-boxes.json",
        "--model", model, "--state", state,
    )  # fmt: skip
    _run("edge-report", "csv", "--level", "media", "--out", out / "media.csv", "--state", state)
    _run("edge-report", "csv", "--level", "event", "--out", out / "events.csv", "--state", state)
    _run("edge-report", "html", "--out", out / "report.html", "--state", state)
    visits = read_visits(world / "truth.csv", out)
    score = _score(visits, world, run, world_seed, train_seed, (time.monotonic() - began) / 60)
    _tell(visits, score, out)
    (out / "score.json").write_text(json.dumps(asdict(score), indent=2) + "\n", encoding="utf-8")
    return score


def _run(*words: object) -> None:
    """One command of this installation, shown as a user would type it."""
    command, *arguments = [str(word) for word in words]
    _say(f"$ {' '.join([command, *arguments])}")
    script = Path(sys.executable).parent / command
    done = subprocess.run([str(script), *arguments], check=False)
    if done.returncode != 0:
        raise FanclError(f"{command} ended with exit code {done.returncode}; see its words above")


def _say(sentence: str) -> None:
    print(sentence, flush=True)


def read_visits(truth_file: Path, out: Path) -> list[Visit]:
    """The drawn events with the device's decision on each, joined by the pictures' paths."""
    events = {row["event_id"]: row for row in _rows(out / "events.csv")}
    event_of: dict[str, str] = {}
    for row in _rows(out / "media.csv"):
        path = Path(row["file_path"])
        event_of[f"{path.parent.name}/{path.name}"] = row["event_id"]
    frames: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in _rows(truth_file):
        if row["part"] == "inbox" and row["identity"]:
            frames[row["encounter"]].append(row)
    visits = []
    for encounter, rows in frames.items():
        found = Counter(event_of.get(row["path"], "") for row in rows).most_common(1)[0][0]
        event = events.get(found, {"decision": "missed", "nearest_name": "", "provisional": ""})
        # A new animal that is known again is still a new one.
        again = event["provisional"] == "1" and event["decision"] == "match"
        visits.append(
            Visit(
                encounter=encounter,
                identity=rows[0]["identity"],
                known=rows[0]["known"] == "1",
                camera=rows[0]["path"].split("/")[0],
                decision="new" if again else event["decision"],
                best_name=event["nearest_name"],
            )
        )
    return visits


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _score(
    visits: list[Visit], world: Path, run: Path, world_seed: int, train_seed: int, minutes: float
) -> Score:
    known = [one for one in visits if one.known]
    strangers = [one for one in visits if not one.known]
    named = [one for one in known if one.decision == "match"]
    right = sum(one.best_name == one.identity for one in named)
    return Score(
        world_seed=world_seed,
        train_seed=train_seed,
        known=len(known),
        strangers=len(strangers),
        rank1=float(np.mean([one.best_name == one.identity for one in known])),
        rank1_untrained=untrained_rank1(world, run),
        named_right=right / len(known),
        named_wrong=(len(named) - right) / len(known),
        known_called_new=float(np.mean([one.decision == "new" for one in known])),
        stranger_named=float(np.mean([one.decision == "match" for one in strangers])),
        minutes=minutes,
    )


def untrained_rank1(world: Path, run: Path) -> float:
    """Event-level rank-1 of the run's encoder before training, on the same pictures."""
    import torch

    from trainer.data import load_crops
    from trainer.encoder import embed

    start = checkpoint.load_encoder(run / checkpoint.START)
    gallery = load_crops(read_collection(world / "gallery"), start.facts.input, None)
    boxes = BoxesFile(world / "inbox-boxes.json")
    inbox = load_crops(read_collection(world / "inbox"), start.facts.input, boxes)
    device = torch.device("cpu")
    similarity = (
        embed(start.encoder, inbox.images_NHWC, device)
        @ embed(start.encoder, gallery.images_NHWC, device).T
    )
    identity_G = np.array([fact.picture.identity for fact in gallery.facts])
    truth = {row["path"]: row for row in _rows(world / "truth.csv") if row["part"] == "inbox"}
    frames: dict[str, list[int]] = defaultdict(list)
    for index, fact in enumerate(inbox.facts):
        if truth[fact.picture.name]["known"] == "1":
            frames[truth[fact.picture.name]["encounter"]].append(index)
    hits = [
        _best(similarity[rows], identity_G) == truth[inbox.facts[rows[0]].picture.name]["identity"]
        for rows in frames.values()
    ]
    return float(np.mean(hits))


def _best(similarity_NG: NDArray[np.float32], identity_G: NDArray[np.str_]) -> str:
    """The identity with the highest mean, over frames, of its best exemplar."""
    names = np.unique(identity_G)
    means = [similarity_NG[:, identity_G == name].max(axis=1).mean() for name in names]
    return str(names[int(np.argmax(means))])


def _tell(visits: list[Visit], score: Score, out: Path) -> None:
    _say("\nWho was seen (truth, camera -> decision):")
    for one in sorted(visits, key=lambda visit: visit.identity):
        _say(f"  {one.identity:4} at {one.camera:10} -> {_verdict(one)}")
    _say(
        f"\n{score.known} visits of known animals: {score.named_right:.0%} got their right name, "
        f"{score.named_wrong:.0%} a wrong one, {score.known_called_new:.0%} were called new, "
        "the rest is left for a person to look at\n"
        f"{score.strangers} visits of strangers: {score.stranger_named:.0%} got a known name\n"
        f"most similar individual is the right one: {score.rank1:.0%} "
        f"(encoder before training: {score.rank1_untrained:.0%})\n"
        f"took {score.minutes:.1f} minutes; the page to look at: {(out / 'report.html').resolve()}"
    )


def _verdict(visit: Visit) -> str:
    if visit.decision == "match":
        right = visit.known and visit.best_name == visit.identity
        return f"{visit.best_name:12} {'right' if right else 'WRONG'}"
    if visit.decision == "new":
        return f"{'new animal':12} {'WRONG' if visit.known else 'right'}"
    return f"{'please look':12} (nearest {visit.best_name})"


def main(
    out: Annotated[Path, typer.Option(help="A new folder for everything the demo makes.")],
    world_seed: Annotated[int, typer.Option(min=0, help="Which animals and places.")] = 1,
    train_seed: Annotated[int, typer.Option(min=0, help="Which random start.")] = 1,
) -> None:
    """Run the whole loop on a drawn world and say what was right and wrong."""
    try:
        run_demo(out, world_seed, train_seed)
    except FanclError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    typer.run(main)
