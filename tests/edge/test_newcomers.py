"""Animals that the device minted, kept in memory, against the database read anew each time."""

from __future__ import annotations

import contextlib
import random
from itertools import count

import numpy as np
import pytest

from edge.decide import rank
from edge.gallery.curate import merge
from edge.gallery.gallery import Gallery
from edge.identity import newcomers
from edge.identity.newcomers import Newcomers
from edge.identity.sightings import Judge, join_events
from edge.record import store_events, store_provisional
from edge.record.store import Store, open_store
from edge.record.store_gallery import StoredExemplar
from edge.record.store_log import editing

from .test_sightings import DIM, LIMITS, UndoneError, look, put


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "edge.db")
    yield opened
    opened.close()


def judge() -> Judge:
    return Judge(
        gallery=Gallery([], DIM), thresholds=LIMITS, model="tiny", encoder_id="e",
        event_gap_seconds=60.0,
    )  # fmt: skip


def kept(found: Newcomers) -> list[tuple]:
    pairs = zip(found._frames, found._embeddings.rows, strict=True)
    return sorted((one.event_id, one.individual_id, emb_D.tobytes()) for one, emb_D in pairs)


def read_anew(store: Store) -> Newcomers:
    fresh = Newcomers()
    fresh.read(store, "e")
    return fresh


def strangers(rng: random.Random) -> list[tuple[str, str]]:
    """Frames with their animals at two cameras, in no order, so that late ones bridge events."""
    times = [f"{hour:02}:{minute:02}:{second:02}" for hour in (6, 7) for minute in range(12)
             for second in rng.sample(range(60), 2)]  # fmt: skip
    frames = [(f"{camera} {one}", rng.choice("VWXYZ")) for camera in "cd" for one in times]
    rng.shuffle(frames)
    return frames


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("most", [6, 2000])
def test_what_is_kept_is_what_the_database_has(store, monkeypatch, seed, most):
    monkeypatch.setattr(newcomers, "KEPT_FRAMES", most)
    monkeypatch.setattr(store_provisional, "KEPT_FRAMES", most)
    moments = count(1)  # two decisions in the same millisecond have no order
    monkeypatch.setattr(store_events, "now", lambda: f"2026-05-01T{next(moments):09}")
    rng, deciding = random.Random(seed), judge()
    arriving = strangers(rng)
    while arriving:
        undone = rng.random() < 0.25
        with contextlib.suppress(UndoneError), store.transaction():
            batch = arriving[:6]
            for frame, animal in batch:
                join_events(store, deciding, put(store, frame, animal, shot=len(arriving)))
            if undone:
                raise UndoneError
            arriving = arriving[6:]
        deciding.newcomers.read(store, "e")
        assert kept(deciding.newcomers) == kept(read_anew(store))
    assert deciding.newcomers._frames
    assert len(deciding.newcomers._frames) <= most


def test_what_another_program_merges_is_merged_here_too(store):
    deciding = judge()
    with store.transaction():
        for text in ("c 06:00:00", "c 06:00:05"):
            join_events(store, deciding, put(store, text, "X", shot=1))
        for text in ("c 08:00:00", "c 08:00:05"):
            join_events(store, deciding, put(store, text, "Y", shot=2))
    first, second = sorted({one.individual_id for one in deciding.newcomers._frames})
    other = open_store(store.path)
    with editing(other, "tester") as editor:
        merge(editor, first, second)
    other.close()
    deciding.newcomers.read(store, "e")
    assert {one.individual_id for one in deciding.newcomers._frames} == {second}


def test_the_nearest_is_that_of_a_gallery_of_all_frames(store):
    deciding = judge()
    with store.transaction():
        for number, animal in enumerate("VWXYZVWXYZ"):
            for second in range(2):
                frame = f"c {6 + number:02}:00:{second:02}"
                join_events(store, deciding, put(store, frame, animal, shot=number))
    found = deciding.newcomers
    for number, animal in enumerate("VWXYZQ"):
        emb_ND = np.stack([look(animal, shot) for shot in (90, 91)]).astype(np.float32)
        event_id = found._frames[number].event_id
        left = found._frames[0].individual_id if number % 2 else ""
        nearest = found.nearest(
            emb_ND, ["unknown"] * 2, [1.0, 0.5], but_event=event_id, but_animals={left}
        )
        slow = [
            StoredExemplar(
                individual_id=one.individual_id, flank=one.flank, encounter=None,
                captured_at=None, embedding=one.embedding,
            )
            for one in store_provisional.frames(store, "e")
            if one.event_id != event_id and one.individual_id != left
        ]  # fmt: skip
        matches = Gallery(slow, DIM).search(emb_ND, ["unknown"] * 2)
        best = rank(matches.individual_ids, matches.similarity_NI, [1.0, 0.5]).individual_ids[0]
        assert nearest is not None
        assert nearest.individual_id == best
        assert len(nearest.emb_MD) == sum(one.individual_id == best for one in slow)
        of_best = matches.similarity_NI[:, matches.individual_ids.index(best)]
        np.testing.assert_array_equal(nearest.search(emb_ND, ["unknown"] * 2), of_best)


def test_an_animal_of_the_other_flank_is_none(store):
    deciding = judge()
    with store.transaction():
        for frame in ("c 06:00:00", "c 06:00:05"):
            join_events(store, deciding, put(store, frame, "X", shot=1))
        store.execute("UPDATE detection SET flank = 'left'")
    fresh = read_anew(store)
    emb_ND = look("X")[None].astype(np.float32)
    words = {"but_event": "", "but_animals": set()}
    assert fresh.nearest(emb_ND, ["right"], [1.0], **words) is None
    assert fresh.nearest(emb_ND, ["left"], [1.0], **words) is not None
