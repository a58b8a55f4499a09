"""A drawn world with strangers, both flanks and infrared light: names by event against by frame.

The small form of benchmarks/identity.py: the encoder is a fixed projection of pixels, so most names
are wrong, but what events and votes are worth shows all the same.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.schedule import WorldPlan
from trainer.synthetic import draw_world

from .edge.conftest import write_model
from .test_e2e import rows, watch_world

PLAN = WorldPlan(
    num_train=0, num_known=12, gallery_events=6, inbox_events=4, num_strangers=8, num_blanks=3,
    frame_width=240, frame_height=160,
)  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, str]], ...]:
    """The truth of the inbox, and what was told by frame and by event."""
    folder = tmp_path_factory.mktemp("names")
    draw_world(folder / "world", seed=11, plan=PLAN)
    world = folder / "world"
    watch_world(world, write_model(folder / "tiny.onnx"), folder)
    truth = [row for row in rows(world / "truth.csv") if row["part"] == "inbox" and row["identity"]]
    return truth, rows(folder / "media.csv"), rows(folder / "event.csv")


def test_events_name_fewer_wrongly_than_frames_at_the_same_share_of_review(told) -> None:
    truth, media, events = told
    assert {row["flank"] for row in truth} == {"left", "right"}
    assert "infrared" in {row["light"] for row in truth}
    frame_of = {"/".join(Path(row["file_path"]).parts[-2:]): row for row in media}
    true_of = {frame_of[row["path"]]["event_id"]: row["identity"] for row in truth}
    by_frame = [
        (float(frame["best_similarity"]), frame["best_name"] != row["identity"])
        for row in truth
        for frame in [frame_of[row["path"]]]
    ]
    by_event = [
        (float(row["statistic_value"]), row["nearest_name"] != true_of[row["event_id"]])
        for row in events
    ]
    for review in (0.1, 0.2, 0.4):
        assert _wrong(by_event, review) < _wrong(by_frame, review)


def test_few_strangers_get_a_name(told) -> None:
    truth, media, events = told
    event_of = {"/".join(Path(row["file_path"]).parts[-2:]): row["event_id"] for row in media}
    strangers = {event_of[row["path"]] for row in truth if row["known"] == "0"}
    assert len(strangers) >= PLAN.num_strangers
    named = [row for row in events if row["event_id"] in strangers and row["decision"] == "match"]
    assert len(named) <= len(strangers) / 5  # a tenth is what the thresholds are for


def _wrong(names: list[tuple[float, bool]], review: float) -> float:
    """The share of wrong names when so many of the least sure are left to a person."""
    sure = sorted(names, reverse=True)[: round((1 - review) * len(names))]
    return sum(is_wrong for _, is_wrong in sure) / len(sure)
