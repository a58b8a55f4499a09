"""The gallery's log against its tables, over any sequence of changes."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.detect import Box
from edge.errors import GalleryError
from edge.gallery import curate, gallery_log, verdicts
from edge.gallery.curate import NewExemplar
from edge.record import store_log
from edge.record.store import open_store
from edge.record.store_log import editing

_NAMES = ("Luna", "Nova", "Kito", "Zuri", "Asha")
_OBSERVATIONS = ("observation-1", "observation-2")
_counter = itertools.count()
_ACTIONS = (
    "enrol",
    "rename",
    "merge",
    "split",
    "back",
    "retire",
    "flank",
    "move",
    "assign",
    "reject",
)
_steps = st.lists(
    st.tuples(
        st.sampled_from([*_ACTIONS, "undo", "undo"]),
        st.integers(0, 10**6),
        st.integers(0, 10**6),
        st.sampled_from(_NAMES),
        st.booleans(),
    ),
    max_size=14,
)


def picture(number: int) -> NewExemplar:
    return NewExemplar(
        sha256=f"{number:064x}",
        display=f"{number}.jpg",
        box=Box(x=number / 7, y=0.1, width=0.3, height=1 / 3, relative=True),
        flank="unknown",
        encounter=f"visit {number % 3}",
        captured_at=None,
        crop=f"{number:064x}",
        observation_id=None,
        embedding=np.full(4, 0.5, np.float16),
        encoder_id="e" * 64,
    )


def change(store, act):
    with store.transaction(), editing(store, "tester") as editor:
        return act(editor)


def enrol(store, name, num_pictures=2, provisional=False):
    pictures = [picture(next(_counter)) for _ in range(num_pictures)]
    return change(store, lambda editor: curate.enrol(editor, None, name, provisional, pictures))


def take_step(store, step) -> None:
    action, a, b, name, flag = step
    state = store_log.load(store)
    ids, exemplars = sorted(state.individuals), sorted(state.exemplars)
    if action == "enrol" or not ids:
        known = ids[a % len(ids)] if ids and flag else None
        change(store, lambda editor: curate.enrol(editor, known, name, flag, [picture(a)]))
        return
    one, other = ids[a % len(ids)], ids[b % len(ids)]
    some = [exemplars[b % len(exemplars)]] if exemplars else []
    entries = store_log.entries(store)
    acts = {
        "rename": lambda editor: curate.rename(editor, one, name),
        "merge": lambda editor: curate.merge(editor, one, other),
        "split": lambda editor: curate.split(editor, one, some, name),
        "back": lambda editor: curate.split_back(editor, one, other, name if flag else None),
        "retire": lambda editor: curate.retire(editor, one),
        "flank": lambda editor: curate.set_flank(editor, some[0], "left") if some else None,
        "move": lambda editor: curate.move(editor, some[0], one) if some else None,
        "assign": lambda editor: verdicts.assign(
            editor, _OBSERVATIONS[b % 2], name if flag else one, flag, None
        ),
        "reject": lambda editor: verdicts.reject(editor, _OBSERVATIONS[b % 2], one),
        "undo": lambda editor: curate.undo(editor, str(entries[a % len(entries)].seq), flag),
    }
    change(store, acts[action])


@pytest.fixture
def store():
    opened = open_store(Path(":memory:"))
    yield opened
    opened.close()


def see(store) -> None:
    """Two sightings a person can speak about, with a usable picture each."""
    store.execute("INSERT INTO deployment (deployment_id, created_at) VALUES ('cam', '2026-05-01')")
    for number, observation in enumerate(_OBSERVATIONS):
        sha256 = f"{number:064x}"
        store.execute(
            "INSERT INTO media (sha256, deployment_id, state, attempts, num_bytes, captured_at, "
            "time_source, seq, seen_at) VALUES (?, 'cam', 'done', 1, 1, ?, 'exif', ?, '2026')",
            (sha256, f"2026-05-01T12:0{number}:00", number),
        )
        store.execute(
            "INSERT INTO event VALUES (?, 'cam', '2026', '2026')", (f"event-of-{number}",)
        )
        store.execute(
            "INSERT INTO observation (observation_id, event_id, decision, num_frames, num_usable, "
            "model, encoder_id, decided_at) VALUES (?, ?, 'review', 1, 1, 'm', 'e', '2026')",
            (observation, f"event-of-{number}"),
        )
        store.execute(
            "INSERT INTO detection (detection_id, sha256, event_id, observation_id, "
            "observation_type, x, y, width, height, usable, flank, embedding, encoder_id, crop) "
            "VALUES (?, ?, ?, ?, 'animal', 0, 0, 1, 1, 1, 'unknown', ?, 'e', 'c')",
            (f"detection-{number}", sha256, f"event-of-{number}", observation, b"\0" * 8),
        )


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(_steps)
def test_any_changes_and_undos_replay_to_the_tables(steps):
    check_steps(steps)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(max_examples=2000, deadline=None, database=None)
@given(_steps)
def test_two_thousand_random_histories_replay_to_the_tables(steps):
    check_steps(steps)


def check_steps(steps) -> None:
    store = open_store(Path(":memory:"))
    try:
        see(store)
        ever: list[str] = []
        for step in steps:
            before = store_log.load(store)
            try:
                take_step(store, step)
            except GalleryError:
                assert store_log.load(store) == before  # a refusal changes nothing
            entries = store_log.entries(store)
            tables = store_log.load(store)
            assert gallery_log.replay(entries) == tables
            assert [one.seq for one in entries] == list(range(1, len(entries) + 1))
            names = [one.name for one in tables.individuals.values() if one.status == "living"]
            assert len(set(names)) == len(names)
            assert before.individuals.keys() <= tables.individuals.keys()  # no id is ever lost
            ever += tables.individuals.keys() - before.individuals.keys()
            assert len(set(ever)) == len(ever)  # nor given twice
            for number in range(len(entries) + 1):
                gallery_log.replay(entries[:number])  # there was a gallery at every moment
    finally:
        store.close()


def test_undoing_everything_from_the_last_leaves_an_empty_gallery_and_redoing_brings_it_back(store):
    enrol(store, "Luna")
    enrol(store, "Nova")
    change(store, lambda editor: curate.merge(editor, "Nova", "Luna"))
    full = store_log.load(store)
    for number in (3, 2, 1):
        change(store, lambda editor, n=number: curate.undo(editor, str(n), False))
    assert store_log.load(store).exemplars == {}
    assert {one.status for one in store_log.load(store).individuals.values()} == {"undone"}
    for number in (6, 5, 4):
        change(store, lambda editor, n=number: curate.undo(editor, str(n), False))
    assert store_log.load(store) == full


@pytest.mark.parametrize("num_pictures", [1, 3])
def test_merge_then_split_is_the_identity(store, num_pictures):
    enrol(store, "Luna", num_pictures)
    enrol(store, "Nova", num_pictures, provisional=True)
    before = store_log.load(store)
    change(store, lambda editor: curate.merge(editor, "Nova", "Luna"))
    assert store_log.load(store) != before
    change(store, lambda editor: curate.split_back(editor, "Luna", "Nova", None))
    assert store_log.load(store) == before


def test_an_undo_that_others_build_on_names_them_and_takes_them_along_when_told(store):
    enrol(store, "Luna")
    enrol(store, "Nova")
    change(store, lambda editor: curate.merge(editor, "Nova", "Luna"))
    merged = store_log.load(store)
    with pytest.raises(GalleryError, match=r"entry 3 \(merge\) builds on it .*--with-later"):
        change(store, lambda editor: curate.undo(editor, "2", False))
    assert store_log.load(store) == merged
    change(store, lambda editor: curate.undo(editor, "2", True))
    living = [one for one in store_log.load(store).individuals.values() if one.status == "living"]
    assert [one.name for one in living] == ["Luna"]
    with pytest.raises(GalleryError, match="undone already, by entry 4"):
        change(store, lambda editor: curate.undo(editor, "3", False))


def test_an_undo_in_the_middle_leaves_what_came_later(store):
    luna = enrol(store, "Luna")
    change(store, lambda editor: curate.rename(editor, "Luna", "Luana"))
    enrol(store, "Nova")
    change(store, lambda editor: curate.merge(editor, "Nova", "Luana"))
    change(store, lambda editor: curate.undo(editor, "2", False))
    state = store_log.load(store)
    assert state.individuals[luna].name == "Luna"
    assert len(state.exemplars_of(luna)) == 4


def test_an_undo_whose_name_is_taken_meanwhile_is_refused(store):
    enrol(store, "Luna")
    change(store, lambda editor: curate.rename(editor, "Luna", "Nova"))
    enrol(store, "Luna")
    with pytest.raises(GalleryError, match=r"entry 3 \(enrol\).*another animal called Luna"):
        change(store, lambda editor: curate.undo(editor, "2", False))


def test_what_is_undone_at_a_date_is_not_undone_before(store):
    enrol(store, "Luna")
    entries = store_log.entries(store)
    moment = entries[-1].logged_at
    change(store, lambda editor: curate.undo(editor, "1", False))
    then = gallery_log.replay(gallery_log.until(store_log.entries(store)[:1], moment))
    assert [one.status for one in then.individuals.values()] == ["living"]
    assert gallery_log.until(entries, "1999") == []


def test_a_minted_animal_is_taken_back_only_while_nobody_has_dealt_with_it(store):
    with store.transaction():
        stays = store_log.mint(store, "new-1", "edge-watch")
        goes = store_log.mint(store, "new-2", "edge-watch")
    change(store, lambda editor: curate.rename(editor, "new-1", "Luna"))
    with store.transaction():
        assert not store_log.unmint(store, stays, "edge-watch")
        assert store_log.unmint(store, goes, "edge-watch")
        assert not store_log.unmint(store, goes, "edge-watch")
    status = {key: one.status for key, one in store_log.load(store).individuals.items()}
    assert status == {stays: "living", goes: "undone"}
    assert store_log.load(store) == gallery_log.replay(store_log.entries(store))


def test_a_persons_word_is_a_review_and_taking_it_back_is_one_too(store):
    see(store)
    luna = enrol(store, "Luna")
    change(store, lambda editor: verdicts.assign(editor, "observation-1", "Luna", False, "left"))
    state = store_log.load(store)
    (seen,) = [one for one in state.exemplars.values() if one.observation_id == "observation-1"]
    assert (seen.individual_id, seen.flank, seen.encounter) == (luna, "left", "event-of-0")
    change(store, lambda editor: verdicts.assign(editor, "event-of-0", "Nova", True, None))
    state = store_log.load(store)
    nova = state.living_named("Nova")
    assert [one.exemplar_id for one in state.exemplars_of(nova.individual_id)] == [seen.exemplar_id]
    change(store, lambda editor: verdicts.reject(editor, "observation-1", "Nova"))
    assert store_log.load(store).exemplars_of(nova.individual_id) == []
    for number in (4, 3, 2):
        change(store, lambda editor, n=number: curate.undo(editor, str(n), False))
    verdicts_ = [row[0] for row in store.execute("SELECT verdict FROM review ORDER BY reviewed_at")]
    assert sorted(verdicts_) == ["assign"] * 4 + ["reject", "withdraw"]
    assert store_log.load(store).said == {}
