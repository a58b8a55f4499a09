"""What the HTML page shows, gathered from the state folder: events, crops and exemplars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import PurePath

from edge.gallery import proposals
from edge.record import store_report
from edge.record.state import StateFolder
from edge.record.store import DECISIONS_KEY, Store, get_meta
from edge.record.store_report import CropRow, Record
from edge.report.card import DecisionWord, PairCard
from edge.report.page import EventCard, Picture, Summary, render_page

_MAX_CROPS = 4  # pictures a side; a page must open on a phone
_MAX_EXEMPLARS = 2
_NAMED: frozenset[DecisionWord] = frozenset({"match", "new"})


def page(store: Store, state: StateFolder, title: str) -> str:
    rows = list(store_report.event_rows(store))
    seen = Counter(row["individual_id"] for row in rows if _shown(row) in _NAMED)
    cards = [_card(store, state, row, seen[row["individual_id"]]) for row in rows]
    return render_page(title, _summary(store, rows), cards, _proposals(store, state))


def _summary(store: Store, rows: list[Record]) -> Summary:
    totals = store_report.totals(store)
    names = Counter(row["name"] for row in rows if row["name"] and _shown(row) in _NAMED)
    models = store_report.models_used(store)
    model_name, encoder_id = models[0] if models else ("none yet", "")
    return Summary(
        num_media=totals.num_media,
        num_events=len({row["event_id"] for row in rows}),
        num_quarantined=totals.num_quarantined,
        individuals=tuple(names.most_common()),
        model_name=model_name,
        encoder_id=encoder_id,
        thresholds_sentence=get_meta(store, DECISIONS_KEY),
        generated_at=datetime.now(),
    )


def _shown(row: Record) -> DecisionWord:
    """The decision after what a person said."""
    if row["verdict"] in ("confirm", "assign"):
        return "match"
    decision: DecisionWord = row["decision"]
    return "review" if row["verdict"] == "reject" and row["name"] is None else decision


def _card(store: Store, state: StateFolder, row: Record, times_seen: int) -> EventCard:
    who, best, runner_up = row["individual_id"], row["nearest"], row["runner_up"]
    crops = store_report.observation_crops(store, row["observation_id"], _MAX_CROPS)
    return EventCard(
        event_id=row["event_id"],
        deployment=row["deployment_id"],
        start=datetime.fromisoformat(row["start"]),
        end=datetime.fromisoformat(row["end"]),
        num_frames=row["num_frames"],
        decision=_shown(row),
        individual_id=who,
        who=row["name"],
        provisional=bool(row["provisional"]),
        times_seen=times_seen,
        said_by=row["said_by"],
        rejected=row["verdict_name"] if row["verdict"] == "reject" else None,
        name=row["nearest_name"],
        similarity=row["similarity"],
        runner_up_name=row["runner_up_name"],
        runner_up_similarity=row["runner_up_similarity"],
        crops=_pictures(state, crops),
        who_exemplars=_exemplars(store, state, who if row["said_by"] and who != best else None),
        best_exemplars=_exemplars(store, state, best),
        runner_up_exemplars=_exemplars(store, state, runner_up),
    )


def _proposals(store: Store, state: StateFolder) -> list[PairCard]:
    return [
        PairCard(
            one=found.one_name,
            other=found.other_name,
            similarity=found.similarity,
            one_pictures=_exemplars(store, state, found.one_id),
            other_pictures=_exemplars(store, state, found.other_id),
        )
        for found in proposals.proposals(store)
    ]


def _exemplars(store: Store, state: StateFolder, individual_id: str | None) -> tuple[Picture, ...]:
    if individual_id is None:
        return ()
    rows = store_report.exemplar_crops(store, individual_id, _MAX_EXEMPLARS)
    return _pictures(state, rows)


def _pictures(state: StateFolder, rows: Iterable[CropRow]) -> tuple[Picture, ...]:
    """A crop that somebody removed is left out: the page is about what is there."""
    return tuple(
        Picture(jpeg=state.crop(row.crop).read_bytes(), caption=_caption(row))
        for row in rows
        if state.crop(row.crop).is_file()
    )


def _caption(row: CropRow) -> str:
    file_name = PurePath(row.display).name
    if row.taken_at is None:
        return file_name
    return f"{datetime.fromisoformat(row.taken_at):%Y-%m-%d %H:%M:%S}, {file_name}"
