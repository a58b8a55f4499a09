"""edge-gallery calibrate and doctor, by their words."""

from __future__ import annotations

import pytest

from .conftest import draw, save

MANY = [f"cow{number:02d}" for number in range(24)]


@pytest.fixture
def herd(device, tmp_path):
    """24 animals with four visits each, a picture a visit."""
    for animal in MANY:
        for shot in range(4):
            save(tmp_path / "known" / animal / f"{shot}.jpg", draw(animal, shot=10 * shot),
                 f"2026-05-0{shot + 1} 06:00:00")  # fmt: skip
    ran = device.enroll(tmp_path / "known")
    assert ran.code == 0, ran.err
    return device


def gallery(device, verb, *words):
    return device.run("gallery", verb, *words, "--state", str(device.state),
                      "--model", str(device.model))  # fmt: skip


def test_calibrating_says_what_to_expect_and_the_rates_stay(herd, tmp_path):
    ran = gallery(herd, "calibrate", "--wrong-names", "0.05", "--ghosts", "0.05",
                  "--plot", str(tmp_path / "plot.svg"))  # fmt: skip
    assert (tmp_path / "plot.svg").read_text().startswith("<svg")
    if ran.code:  # 24 animals are few: refused, with what is needed
        assert "cannot be promised" in ran.err and "Nothing was changed" in ran.err
        assert "events are needed" in ran.err
    else:
        assert "Measured on 24 animals" in ran.out


def test_too_few_animals_are_told_with_what_decides_until_then(known):
    ran = gallery(known, "calibrate")
    assert ran.code == 1
    assert "calibrating needs 10 individuals, the gallery has 3: enrol 7 more" in ran.err
    assert "until then decisions go by model (labels)" in ran.err


def test_a_rate_no_gallery_can_keep_names_the_events_it_takes(herd):
    ran = gallery(herd, "calibrate", "--wrong-names", "0.001")
    assert ran.code == 1 and "999 events are needed" in ran.err


def test_the_doctor_finds_a_wrong_label_and_an_animal_with_two_names(herd, tmp_path):
    save(tmp_path / "more" / "cow03" / "x.jpg", draw("cow07", shot=77), "2026-06-01 06:00:00")
    for shot in (50, 60):
        save(tmp_path / "more" / "twin" / f"{shot}.jpg", draw("cow11", shot=shot),
             f"2026-06-0{shot // 10} 08:00:00")  # fmt: skip
    assert herd.enroll(tmp_path / "more").code == 0
    ran = gallery(herd, "doctor")
    assert ran.code == 0, ran.err
    wrong = [line for line in ran.out.splitlines() if line.startswith("likely wrong label")]
    assert len(wrong) == 1 and "x.jpg of cow03 looks like cow07" in wrong[0]
    twice = [line for line in ran.out.splitlines() if "two names" in line]
    assert len(twice) == 1 and "cow11 and twin" in twice[0]
    assert "edge-gallery merge 'twin' 'cow11'" in twice[0]


def test_a_sound_gallery_is_called_so(herd):
    assert gallery(herd, "doctor").out == "nothing suspicious was found\n"


def test_the_doctor_names_animals_never_seen_by_infrared_light(known, tmp_path):
    assert "infrared" not in gallery(known, "doctor").out  # no animal was
    night = draw("A", shot=9).mean(axis=2, keepdims=True).repeat(3, axis=2).astype("uint8")
    save(tmp_path / "more" / "A" / "night.jpg", night)
    assert known.enroll(tmp_path / "more").code == 0
    told = [line for line in gallery(known, "doctor").out.splitlines() if "infrared" in line]
    assert [line.split(". Mend")[0] for line in told] == [
        "gap: no picture by infrared light of B", "gap: no picture by infrared light of C",
    ]  # fmt: skip
