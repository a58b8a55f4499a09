"""Rows kept in place give what copying all of them each time gives."""

from __future__ import annotations

import numpy as np
import pytest

from edge.identity.row_buffer import RowBuffer


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_those_of_copying_all_each_time(seed: int) -> None:
    rng = np.random.default_rng(seed)
    buffer, plain = RowBuffer(24), np.zeros((0, 3), np.float32)
    for _ in range(200):
        if rng.random() < 0.5:  # mostly the newest go, as an event is decided anew
            count = len(plain) - int(rng.integers(0, 4))
            kept = list(range(max(count, 0)))
            if rng.random() < 0.3:
                kept = [one for one in range(len(plain)) if rng.random() < 0.7]
            buffer.keep(kept)
            plain = plain[kept]
        new = rng.random((int(rng.integers(0, 30 if rng.random() < 0.1 else 4)), 3), np.float32)
        if len(new):
            buffer.append(new)
            plain = np.concatenate([plain, new])[-24:]
        assert buffer.rows.tolist() == plain.tolist()


def test_rows_of_another_width_come_in_place_of_none() -> None:
    buffer = RowBuffer(4)
    buffer.append(np.ones((2, 3), np.float32))
    buffer.keep([])
    buffer.append(np.full((1, 5), 2.0, np.float32))
    assert buffer.rows.tolist() == [[2.0] * 5]


def test_adding_a_row_copies_the_others_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    room = RowBuffer._make_room
    monkeypatch.setattr(
        RowBuffer, "_make_room", lambda self, *sizes: made.append(sizes) or room(self, *sizes)
    )
    buffer = RowBuffer(80)
    for number in range(400):
        buffer.append(np.full((1, 2), number, np.float32))
    assert buffer.rows[:, 0].tolist() == list(range(320, 400))
    assert len(made) < 50
