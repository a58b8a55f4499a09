"""What edge-watch tells people, a line each."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from edge.intake.inbox import Others
from edge.record.store_report import Record
from edge.text import counted, printable


def sighting_line(row: Record) -> str:
    """One animal in one event as a line on the terminal."""
    start = datetime.fromisoformat(row["start"])
    frames = counted(row["num_frames"], "frame")
    best = _named(row["nearest_name"], row["similarity"])
    next_one = _named(row["runner_up_name"], row["runner_up_similarity"])
    nearest = f"{best}, then {next_one}" if next_one else best
    called = f"{printable(row['name'])}; " if row["name"] else ""
    said = {
        "match": nearest,
        "new": called + (f"nearest is {nearest}" if nearest else "nobody is enrolled"),
        "review": f"perhaps {nearest}" if nearest else "nobody is enrolled",
        "unidentifiable": "too small to tell",
    }[row["decision"]]
    place = printable(row["deployment_id"])
    return f"{start:%Y-%m-%d %H:%M:%S}  {place}  {frames}  {row['decision'].upper()}  {said}"


def _named(name: str | None, similarity: float | None) -> str:
    return f"{printable(name)} {similarity:.3f}" if name and similarity is not None else ""


def summary_line(counts: Counter[str], decisions: Counter[str]) -> str:
    """What a run came to."""
    parts = [
        counted(counts["frames"], "new frame"),
        counted(decisions["events"], "event"),
        *(f"{decisions[kind]} {kind}" for kind in ("match", "new", "review", "unidentifiable")),
        *(f"{counts[kind]} {kind}" for kind in ("blank", "human", "vehicle") if counts[kind]),
        f"{counts['quarantined']} quarantined",
    ]
    if counts["copies"]:
        parts.append(counted(counts["copies"], "copy", "copies") + " of known pictures")
    line = ", ".join(parts)
    return f"{line}; see `edge-admin quarantine list`" if counts["quarantined"] else line


def others_line(others: Others) -> str | None:
    """The files in the inbox that are no pictures, as a sentence; None where there are none."""
    if not others.num_files:
        return None
    files = counted(others.num_files, "other file was", "other files were")
    return f"{files} not read: only JPEG and PNG pictures and clips are"
