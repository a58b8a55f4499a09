from __future__ import annotations

from datetime import datetime, timedelta

import cv2
import numpy as np
import pytest

from edge.detect import WHOLE_FRAME, Box
from edge.detection.motion import MIN_CONFIDENCE, Found, Look, Motion, View
from edge.detection.motion_background import Background
from edge.errors import StateError
from edge.record.store import open_store
from edge.record.store_motion import load_backgrounds, save_backgrounds

from .conftest import coat, save

WIDTH, HEIGHT = 240, 160
START = datetime(2026, 5, 1, 6, 0)
BROWN, DARK = (150, 90, 60), (40, 30, 25)


class World:
    """A small place before a camera, and animals of coloured blocks with stripes."""

    def __init__(self, seed: int = 1) -> None:
        self.rng = np.random.default_rng(seed)
        coarse = self.rng.uniform(60, 170, (20, 30, 3)).astype(np.float32)
        self.place_HWC = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        self.num_events = 0

    def picture(self, *animals: tuple[int, int], light: float = 1.0, infrared: bool = False):
        """Animals 60 x 40 pixels large with their left top corner there."""
        image_HWC = self.place_HWC.copy()
        for left, top in animals:
            image_HWC[top : top + 40, left : left + 60] = BROWN
            for stripe in range(left, left + 60, 12):
                image_HWC[top : top + 40, stripe : stripe + 5] = DARK
        if infrared:
            image_HWC = np.repeat(image_HWC.mean(axis=2, keepdims=True), 3, axis=2)
            noise = self.rng.normal(0, 5, (HEIGHT, WIDTH, 1))
        else:
            noise = self.rng.normal(0, 3, (HEIGHT, WIDTH, 3))
        return np.clip(image_HWC * light + noise, 0, 255).astype(np.uint8)

    def event(self, *pictures) -> list[Look]:
        """Pictures a second apart, ten minutes after the event before."""
        self.num_events += 1
        at = START + timedelta(minutes=10 * self.num_events)
        return [
            Look(key=str(second), captured_at=at + timedelta(seconds=second), image_HWC=picture)
            for second, picture in enumerate(pictures)
        ]

    def blanks(self, num: int, **how) -> list[list[Look]]:
        return [self.event(*(self.picture(**how) for _ in range(3))) for _ in range(num)]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def motion(world) -> Motion:
    """One that has seen the place empty."""
    return taught(world.blanks(4))


def taught(events: list[list[Look]]) -> Motion:
    detector = Motion({})
    for event in events:
        detector.look("ford", event)
    return detector


def boxes(found: Found) -> list[Box]:
    return [one.box for one in found.objects if (one.confidence or 0.0) >= MIN_CONFIDENCE]


def is_at(box: Box, left: int, top: int) -> bool:
    """Whether the box overlaps the animal there by IoU >= 0.6."""
    wide = min(box.x + box.width, (left + 60) / WIDTH) - max(box.x, left / WIDTH)
    high = min(box.y + box.height, (top + 40) / HEIGHT) - max(box.y, top / HEIGHT)
    both = max(wide, 0.0) * max(high, 0.0)
    return both / (box.width * box.height + 2400 / (WIDTH * HEIGHT) - both) >= 0.6


def test_an_animal_walking_past_is_found_in_each_frame(world, motion):
    places = [(40, 90), (70, 90), (100, 92)]
    found = motion.look("ford", world.event(*(world.picture(place) for place in places)))
    assert [one.key for one in found] == ["0", "1", "2"]
    for one, place in zip(found, places, strict=True):
        (box,) = boxes(one)
        assert is_at(box, *place) and one.blank_score < 0.4


def test_an_empty_place_is_blank(world, motion):
    for one in motion.look("ford", world.event(*(world.picture() for _ in range(3)))):
        assert one.objects == () and one.blank_score == 1.0


def test_another_brightness_is_no_animal(world, motion):
    lights = (0.6, 0.8, 1.3)
    found = motion.look("ford", world.event(*(world.picture(light=one) for one in lights)))
    assert [boxes(one) for one in found] == [[], [], []]
    walking = [world.picture((60, 80), light=0.7), world.picture((90, 80), light=1.2)]
    first, second = motion.look("ford", world.event(*walking))
    assert is_at(boxes(first)[0], 60, 80) and is_at(boxes(second)[0], 90, 80)


def test_a_patch_of_sun_that_stays_is_no_animal(world, motion):
    pictures = []
    for _ in range(3):
        lit_HWC = world.picture().astype(np.float32)
        lit_HWC[60:100, 80:140] *= 1.35
        pictures.append(np.clip(lit_HWC, 0, 255).astype(np.uint8))
    assert [boxes(one) for one in motion.look("ford", world.event(*pictures))] == [[], [], []]


def test_day_and_infrared_have_backgrounds_of_their_own(world, motion):
    for event in world.blanks(3, infrared=True):
        assert all(boxes(one) == [] for one in motion.look("ford", event))
    assert {view.light for view in motion.changed} == {"day 240x160", "infrared 240x160"}
    pictures = [world.picture((x, 80), infrared=True) for x in (50, 80, 110)]
    found = motion.look("ford", world.event(*pictures))
    assert all(is_at(boxes(one)[0], x, 80) for one, x in zip(found, (50, 80, 110), strict=True))
    assert all(boxes(one) == [] for one in motion.look("ford", world.blanks(1)[0]))


def test_grass_is_known_to_move_once_the_wind_has_risen(world):
    def windy(depth, *animals):
        picture = world.picture(*animals)
        noise = world.rng.normal(0, depth, (10, 60, 3))  # 4 pixels a blade
        blades = cv2.resize(noise, (WIDTH, 40), interpolation=cv2.INTER_NEAREST)
        picture[120:] = np.clip(picture[120:] + blades, 0, 255).astype(np.uint8)
        return picture

    def gust():
        return world.event(*(windy(6) for _ in range(3)))

    calm = taught(world.blanks(4))
    assert any(boxes(one) for one in calm.look("ford", gust()))
    rising = [world.event(*(windy(step / 8) for _ in range(2))) for step in range(8, 49)]
    detector = taught(rising)
    assert [boxes(one) for one in detector.look("ford", gust())] == [[], [], []]
    found = detector.look("ford", world.event(*(windy(6, (x, 70)) for x in (40, 70, 100))))
    for one, x in zip(found, (40, 70, 100), strict=True):
        assert any(is_at(box, x, 70) for box in boxes(one))


def test_an_animal_that_stands_still_in_the_whole_burst_is_found(world, motion):
    world.place_HWC[60:140, 60:180] = BROWN  # a large one, asleep
    world.place_HWC[60:140, 60:180:12] = DARK
    for one in motion.look("ford", world.event(*(world.picture() for _ in range(3)))):
        (box,) = boxes(one)
        assert abs(box.x * WIDTH - 60) < 8 and abs((box.x + box.width) * WIDTH - 180) < 8


def test_what_sleeps_through_an_event_does_not_become_background(world, motion):
    world.place_HWC[60:140, 60:180] = BROWN
    world.place_HWC[60:140, 60:180:12] = DARK
    event = world.event(*(world.picture() for _ in range(30)))
    for start in range(0, 30, 3):  # batches of one event
        assert all(boxes(one) for one in motion.look("ford", event[start : start + 3]))


def test_two_animals_are_two_boxes(world, motion):
    pictures = [world.picture((20 + step, 30), (150 - step, 100)) for step in (0, 20, 40)]
    for one, step in zip(motion.look("ford", world.event(*pictures)), (0, 20, 40), strict=True):
        assert len(boxes(one)) == 2
        assert any(is_at(box, 20 + step, 30) for box in boxes(one))
        assert any(is_at(box, 150 - step, 100) for box in boxes(one))


def test_after_the_animal_has_left_the_frames_are_blank(world, motion):
    pictures = [world.picture((90, 80)), world.picture((150, 80)), world.picture()]
    found = motion.look("ford", world.event(*pictures))
    assert [len(boxes(one)) for one in found] == [1, 1, 0]
    assert all(boxes(one) == [] for one in motion.look("ford", world.blanks(1)[0]))


def test_an_animal_in_the_first_pictures_is_outvoted(world):
    events = [world.event(*(world.picture((x, 80)) for x in (60, 75, 90)))]
    detector = taught(events + world.blanks(4))
    assert all(boxes(one) == [] for one in detector.look("ford", world.blanks(1)[0]))
    found = detector.look("ford", world.event(world.picture((70, 80))))
    assert is_at(boxes(found[0])[0], 70, 80)


def test_a_first_burst_is_compared_with_itself(world):
    places = [(10, 80), (90, 80), (170, 80)]
    found = Motion({}).look("ford", world.event(*(world.picture(place) for place in places)))
    assert all(is_at(boxes(one)[0], *place) for one, place in zip(found, places, strict=True))


def test_a_burst_goes_on_in_the_next_batch(world, motion):
    """Alone the last frame could not tell the animal from the bush, new here as well."""
    pictures = [world.picture((x, 80)) for x in (170, 128, 84)]
    for picture in pictures:
        picture[80:120, 30:84] = (30, 60, 25)
    event = world.event(*pictures)
    motion.look("ford", event[:2])
    (last,) = motion.look("ford", event[2:])
    assert is_at(boxes(last)[0], 84, 80)


def test_later_events_of_a_batch_show_what_was_behind_the_first_animal(world):
    places = [(40, 80), (52, 80), (64, 80)]  # it covers itself
    first = world.event(*(world.picture(place) for place in places))
    later = [look for event in world.blanks(3) for look in event]
    alone = Motion({}).look("ford", first)
    assert not all(
        is_at(box, *at) for one, at in zip(alone, places, strict=True) for box in boxes(one)
    )
    together = Motion({}).look("ford", [*first, *later])[:3]
    for one, place in zip(together, places, strict=True):
        assert is_at(boxes(one)[0], *place)


def test_a_first_single_picture_is_unknown(world, motion):
    (found,) = Motion({}).look("ford", world.event(world.picture()))
    (whole,) = found.objects
    assert (whole.box, whole.confidence, found.blank_score) == (WHOLE_FRAME, None, 0.5)
    (other,) = motion.look("kopje", world.event(world.picture()))  # another camera
    assert other.blank_score == 0.5


def test_a_single_picture_is_compared_with_the_background(world, motion):
    (found,) = motion.look("ford", world.event(world.picture((100, 60))))
    assert is_at(boxes(found)[0], 100, 60)
    (blank,) = motion.look("ford", world.event(world.picture()))
    assert blank.objects == ()


def test_a_camera_that_was_moved_starts_anew(world, motion):
    world.place_HWC = World(seed=9).place_HWC
    for event in world.blanks(3):
        assert all(boxes(one) == [] for one in motion.look("ford", event))
    (found,) = motion.look("ford", world.event(world.picture((100, 60))))
    assert is_at(boxes(found)[0], 100, 60)


def test_a_batch_may_hold_events_in_any_order(world, motion):
    first, second = (
        world.blanks(1)[0],
        world.event(world.picture((60, 80)), world.picture((90, 80))),
    )
    found = motion.look("ford", [second[1], *first, second[0]])
    assert [len(boxes(one)) for one in found] == [1, 0, 0, 0, 1]


def test_a_restart_forgets_nothing(world, motion, tmp_path):
    store = open_store(tmp_path / "edge.db")
    with store.transaction():
        store.execute("INSERT INTO deployment (deployment_id, created_at) VALUES ('ford', '2026')")
        for _ in range(2):  # the second time over the first
            save_backgrounds(store, motion.changed)
    again = Motion(load_backgrounds(store))
    store.close()
    events = [world.event(*(world.picture((x, 80)) for x in (60, 75, 90))), *world.blanks(1)]
    for event in events:
        assert again.look("ford", event) == motion.look("ford", event)
    (state,) = (one.to_bytes() for one in again.changed.values())
    assert state == motion.changed[View(deployment_id="ford", light="day 240x160")].to_bytes()
    assert len(state) < 300_000


@pytest.mark.parametrize("spoil", [b"", b"FMB", b"other" * 40], ids=["empty", "short", "other"])
def test_a_damaged_memory_is_a_sentence(spoil):
    with pytest.raises(StateError, match="delete the rows of motion_background"):
        Background.from_bytes(spoil)


def test_a_watch_finds_what_moves_and_remembers_its_cameras(known):
    """Ten blanks first, then an animal in a frame: its box, not the whole picture, is recorded."""
    rng = np.random.default_rng(4)
    blocks = rng.uniform(60, 160, (12, 16, 3)).astype(np.float32)
    scene = cv2.resize(blocks, (320, 240), interpolation=cv2.INTER_CUBIC)

    def put(number: int, minute: int, at: tuple[int, int] | None) -> None:
        image = scene + rng.normal(0, 2, scene.shape)
        if at is not None:
            animal = cv2.resize(coat("A"), (64, 64), interpolation=cv2.INTER_NEAREST)
            image[at[0] : at[0] + 64, at[1] : at[1] + 64] = animal
        frame = np.clip(image, 0, 255).astype(np.uint8)
        save(known.inbox / "ford" / f"{number:02}.jpg", frame, f"2026-05-01 06:{minute:02}:00")

    for number in range(10):
        put(number, 3 * number, None)
    known.watch("--detector", "motion")
    put(10, 40, (90, 60))
    put(11, 43, None)
    ran = known.watch("--detector", "motion")  # a new process would know no more than this one
    assert ran.code == 0, ran.err
    rows = known.by_name()
    assert rows["11.jpg"]["observation_type"] == "blank"
    found = rows["10.jpg"]
    assert found["observation_type"] == "animal"
    box = [float(found[key]) for key in ("x", "y", "width", "height")]
    assert np.allclose(box, [60 / 320, 90 / 240, 64 / 320, 64 / 240], atol=0.06)
