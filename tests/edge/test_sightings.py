"""Decisions of events, whatever the order in which frames arrive; new animals known again."""

from __future__ import annotations

import contextlib
import random
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from edge.decide import Thresholds
from edge.detect import Box
from edge.gallery.curate import enrol, merge, rename
from edge.gallery.gallery import Gallery
from edge.gallery.proposals import proposals
from edge.identity.sightings import Arrival, Judge, join_events
from edge.record import store_log
from edge.record.store import Store, open_store
from edge.record.store_events import NewDetection, add_detection
from edge.record.store_gallery import StoredExemplar, names
from edge.record.store_log import editing

DIM = 32
LIMITS = Thresholds(
    statistic="similarity", match=0.8, new=0.5, source="gallery", wrong_name_rate=None,
    false_new_rate=None, named_rate=None, misnamed_rate=None,
)  # fmt: skip


def look(animal: str, shot: int = 0) -> np.ndarray:
    """The animal's direction, a little off in each shot; about 0.95 alike."""
    centre = np.random.default_rng(list(animal.encode())).standard_normal(DIM)
    off = np.random.default_rng([shot, 5]).standard_normal(DIM)
    emb = centre / np.linalg.norm(centre) + 0.2 * off / np.linalg.norm(off)
    return (emb / np.linalg.norm(emb)).astype(np.float16)


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "edge.db")
    yield opened
    opened.close()


def add_individual(store: Store, name: str) -> str:
    with editing(store, "tester") as editor:
        return enrol(editor, None, name, False, [])


def judge_of(store: Store, known: str) -> Judge:
    exemplars = [
        StoredExemplar(
            individual_id=add_individual(store, one), flank="unknown", encounter=None,
            captured_at=None, embedding=look(one),
        )
        for one in known
    ]  # fmt: skip
    return Judge(
        gallery=Gallery(exemplars, DIM), thresholds=LIMITS, model="tiny", encoder_id="e",
        event_gap_seconds=60.0,
    )  # fmt: skip


def put(store: Store, frame: str, animals: str, shot: int) -> list[Arrival]:
    """The detections of a frame `cam 06:30:05`, one an animal; a small letter is of low quality."""
    camera, clock = frame.split(" ", 1)
    moment = datetime.fromisoformat(f"2026-05-01 {clock}")
    store.execute(
        "INSERT OR IGNORE INTO deployment (deployment_id, created_at) VALUES (?, 'now')", (camera,)
    )
    store.execute(
        "INSERT INTO media (sha256, deployment_id, state, attempts, num_bytes, captured_at, "
        "time_source, seq, seen_at) VALUES (?, ?, 'done', 1, 1, ?, 'exif', "
        "(SELECT count(*) FROM media), 'now')",
        (frame, camera, moment.isoformat()),
    )
    arrivals = []
    for number, animal in enumerate(animals):
        detection_id = f"{frame} {number}"
        add_detection(
            store,
            NewDetection(
                detection_id=detection_id, sha256=frame, frame_ms=None,
                observation_type="animal",
                box=Box(x=0.3 * number, y=0.1, width=0.2, height=0.2, relative=True),
                confidence=None, usable=True, quality=0.1 if animal.islower() else 0.9,
                embedding=look(animal.upper(), shot), encoder_id="e", crop=None,
            ),
        )  # fmt: skip
        arrivals.append(
            Arrival(
                detection_id=detection_id, sha256=frame, deployment_id=camera,
                captured_at=moment, time_source="exif",
            )
        )  # fmt: skip
    return arrivals


FRAMES = {
    "c 06:30:00": "A", "c 06:30:20": "AB", "c 06:31:10": "B", "c 06:31:50": "AX",  # one event
    "c 07:00:00": "X", "c 07:00:05": "X",  # a stranger
    "d 06:30:00": "y",  # another camera, one poor frame
}  # fmt: skip


class UndoneError(Exception):
    pass


def run(store: Store, frames: list[str], batch: int) -> tuple[tuple, ...]:
    """What is decided when the frames arrive in this order; nothing of it stays."""
    rows: list[tuple] = []
    with contextlib.suppress(UndoneError), store.transaction():
        judge = judge_of(store, "ABC")
        for start in range(0, len(frames), batch):
            arrivals = [
                one
                for frame in frames[start : start + batch]
                for one in put(store, frame, FRAMES[frame], shot=len(frame) + ord(frame[-1]))
            ]
            join_events(store, judge, arrivals)
        name_of = names(store)
        for *told, individual_id in store.execute(
            "SELECT (SELECT group_concat(detection_id, '|') FROM (SELECT detection_id "
            "FROM detection WHERE detection.observation_id = observation.observation_id "
            "ORDER BY detection_id)), decision, num_frames, num_usable, "
            "round(best_similarity, 4), round(runner_up_similarity, 4), individual_id "
            "FROM observation"
        ):
            rows.append((*told, name_of.get(individual_id, "")[:14]))
        raise UndoneError
    return tuple(sorted(rows))


def test_decisions_do_not_depend_on_the_order_of_arrival(store):
    order = list(FRAMES)
    outcomes = set()
    for number in range(100):
        random.Random(number).shuffle(order)
        outcomes.add(run(store, order, batch=1 + number % 3))
    assert len(outcomes) == 1
    decided = [(row[0].count("|") + 1, row[1]) for row in outcomes.pop()]
    assert (2, "new") in decided and (1, "review") in decided and (3, "match") in decided


def decisions(store):
    name_of = names(store)
    rows = store.execute(
        "SELECT decision, individual_id FROM observation JOIN event USING (event_id) "
        "ORDER BY start_at"
    )
    return [(row[0], name_of.get(row[1])) for row in rows]


def see(store, judge, *frames):
    """`c 06:30:00 X` is a frame with the animal X."""
    for number, text in enumerate(frames):
        frame, animals = text.rsplit(" ", 1)
        join_events(store, judge, put(store, frame, animals, shot=number))


def test_a_new_animal_gets_a_provisional_name_and_is_known_again(store):
    with store.transaction():
        judge = judge_of(store, "ABC")
        see(store, judge, "c 06:30:00 X", "c 06:30:05 X", "c 09:00:00 X")
        (new, name), again = decisions(store)
    assert new == "new" and name.startswith("new-2026-05-01-")
    assert again == ("match", name)


def test_by_votes_animals_are_named_minted_and_known_again(store):
    with store.transaction():
        judge = judge_of(store, "ABC")
        judge = replace(judge, thresholds=replace(LIMITS, statistic="vote"))
        see(store, judge, "c 06:30:00 A", "c 08:00:00 X", "c 08:00:05 X", "c 09:00:00 X")
        known, (new, name), again = decisions(store)
        ((statistic, value),) = store.execute(
            "SELECT statistic, statistic_value FROM observation JOIN event USING (event_id) "
            "WHERE start_at LIKE '%06:30:00'"
        )
    assert known == ("match", "A") and new == "new" and again == ("match", name)
    emb = look("A").astype(np.float32)[None]
    ids = judge.gallery.search(emb, ["unknown"]).individual_ids
    votes = judge.gallery.votes(emb / np.linalg.norm(emb), ["unknown"], ids)
    assert statistic == "vote" and value == pytest.approx(votes.max(), abs=1e-6)


def test_one_frame_makes_nobody_new(store):
    with store.transaction():
        see(store, judge_of(store, "ABC"), "c 06:30:00 X")
        assert decisions(store) == [("review", None)]


def test_a_late_frame_changes_neither_name_nor_id_of_a_new_animal(store):
    with store.transaction():
        judge = judge_of(store, "ABC")
        see(store, judge, "c 06:30:00 X", "c 06:30:05 X")
        before = decisions(store)
        see(store, judge, "c 06:30:09 X")
        assert decisions(store) == before
        logged = store.execute(
            "SELECT count(*) FROM gallery_log WHERE action = 'enrol' AND who = 'edge-watch'"
        )
        assert logged == [(1,)]


def test_a_new_animal_that_turns_out_known_is_taken_back(store):
    with store.transaction():
        judge = judge_of(store, "ABC")
        see(store, judge, "c 06:30:00 x", "c 06:30:05 x")
        assert decisions(store)[0][0] == "new"
        see(store, judge, *[f"c 06:30:{second} A" for second in (10, 20, 30, 40, 50)])
        assert decisions(store) == [("match", "A")]
        assert set(names(store).values()) == {"A", "B", "C"}


def test_a_provisional_animal_takes_no_visit_from_a_named_one(store):
    with store.transaction():
        judge = judge_of(store, "ABC")
        see(store, judge, "c 06:30:00 X", "c 06:30:05 X", "c 09:00:00 A", "c 12:00:00 A")
        assert decisions(store)[1:] == [("match", "A"), ("match", "A")]


def test_a_new_animal_is_known_again_with_another_model_once_its_frames_are_embedded(store):
    with store.transaction():
        judge = judge_of(store, "ABC")
        see(store, judge, "c 06:30:00 X", "c 06:30:05 X")
        other = replace(judge, encoder_id="f")
        arrivals = put(store, "c 09:00:00", "X", shot=9)
        store.execute(
            "INSERT INTO detection_embedding SELECT detection_id, 'f', embedding FROM detection"
        )
        join_events(store, other, arrivals)
        (_, name), again = decisions(store)
    assert again == ("match", name)


def test_a_new_animal_keeps_its_name_when_a_late_frame_comes_after_a_person_gave_it(store):
    with store.transaction():
        judge = judge_of(store, "ABC")
        see(store, judge, "c 06:30:00 X", "c 06:30:05 X")
        with editing(store, "anna") as editor:
            rename(editor, decisions(store)[0][1], "Xena")
        see(store, judge, "c 06:30:09 X", "c 09:00:00 X")
        assert decisions(store) == [("new", "Xena"), ("match", "Xena")]


def test_new_animals_that_are_not_new_beside_each_other_are_proposed_to_be_one(store):
    strict = replace(LIMITS, match=0.999, new=0.999)
    with store.transaction():
        judge = judge_of(store, "ABC")
        apart = replace(judge, thresholds=strict)
        see(store, apart, "c 06:30:00 X", "c 06:30:05 X", "c 09:00:00 X", "c 09:00:05 X")
        see(store, apart, "c 10:00:00 YY", "c 10:00:05 YY")  # side by side: two animals
        minted = [name for decision, name in decisions(store) if decision == "new"]
        assert len(set(minted)) == 4
        see(store, judge, "c 12:00:00 A")  # the limits in force from here on
        (found,) = proposals(store)
        assert {found.one_name, found.other_name} == set(minted[:2])
        with editing(store, "anna") as editor:
            merge(editor, found.one_name, found.other_name)
        assert proposals(store) == []


def test_minting_does_not_read_the_log(store, monkeypatch):
    def unread(_):
        raise AssertionError("the log was read")

    with store.transaction():
        judge = judge_of(store, "ABC")
        monkeypatch.setattr(store_log, "entries", unread)
        see(store, judge, "c 06:30:00 x", "c 06:30:05 x")
        see(store, judge, *[f"c 06:30:{second} A" for second in (10, 20, 30, 40, 50)])
        assert decisions(store) == [("match", "A")]
