"""Animals nobody enrolled, from the inbox to the reports: named, known again, renamed, merged."""

from __future__ import annotations

from .conftest import draw, save


def visit(device, animal, day, shots=(7, 8)):
    """Two frames of a visit at half past six, and what the report says of that visit."""
    for second, shot in enumerate(shots):
        save(device.inbox / f"{day:02d}-{second}.jpg", draw(animal, shot=shot),
             f"2026-05-{day:02d} 06:30:0{second}")  # fmt: skip
    assert device.watch().code == 0
    return device.rows("event")[-1]


def done(device, *words):
    ran = device.run("gallery", *words, "--state", str(device.state))
    assert ran.code == 0, ran.err
    return ran.out


def page(device, tmp_path):
    out = tmp_path / "page.html"
    assert device.run("report", "html", "--out", str(out), "--state", str(device.state)).code == 0
    return out.read_text()


def test_a_new_animal_is_reported_by_its_provisional_name_and_then_by_its_real_one(known, tmp_path):
    first = visit(known, "X", 1)
    assert first["decision"] == "new" and first["name"].startswith("new-2026-05-01-")
    assert first["provisional"] == "1" and first["nearest_name"] in {"A", "B", "C"}
    again = visit(known, "X", 2, shots=(9, 10))
    assert (again["decision"], again["individual_id"]) == ("match", first["individual_id"])
    assert f"New animal <bdi>{first['name']}</bdi>" in page(known, tmp_path)
    assert "2 sightings of it in all" in page(known, tmp_path)
    done(known, "rename", first["name"], "Xena")
    assert [row["name"] for row in known.rows("event")] == ["Xena", "Xena"]
    renamed = visit(known, "X", 3, shots=(11, 12))
    assert (renamed["decision"], renamed["name"]) == ("match", "Xena")


def test_what_a_person_said_stands_before_the_proposal(known, tmp_path):
    seen = visit(known, "A", 1)
    assert (seen["decision"], seen["name"]) == ("match", "A")
    done(known, "reject", seen["observation_id"], "--by", "anna")
    (row,) = known.rows("event")
    assert (row["individual_id"], row["name"], row["verdict"]) == ("", "", "reject")
    assert "Please look: not <bdi>A</bdi> (said by <bdi>anna</bdi>)" in page(known, tmp_path)
    done(known, "assign", seen["observation_id"], "B", "--by", "anna")
    (row,) = known.rows("event")
    assert (row["name"], row["nearest_name"], row["said_by"]) == ("B", "A", "anna")
    assert "Known: <bdi>B</bdi> (said by <bdi>anna</bdi>)" in page(known, tmp_path)
    done(known, "merge", "B", "C")
    (row,) = known.rows("event")
    assert row["name"] == "C"
    assert done(known, "show", row["individual_id"]).startswith("C")


def test_a_merged_animal_keeps_its_pictures_on_the_page(known, tmp_path):
    visit(known, "A", 1)
    before = page(known, tmp_path).count("data:image/jpeg")
    done(known, "merge", "A", "B")
    assert page(known, tmp_path).count("data:image/jpeg") == before


def test_new_animals_that_are_not_alike_are_not_proposed_to_be_one(known):
    for day, animal in ((1, "X"), (2, "Y")):
        assert visit(known, animal, day)["decision"] == "new"
    assert done(known, "list", "--proposals") == "no new animal looks like another\n"
    ran = known.run("gallery", "list", "--proposals", "--all", "--state", str(known.state))
    assert "--proposals stands alone" in ran.err


def test_confirming_a_new_animal_makes_its_frames_its_pictures_not_its_nearest_animals(known):
    first = visit(known, "X", 1)
    out = done(known, "confirm", first["observation_id"])
    assert f"is {first['name']}, who now has 2 pictures" in out
    assert visit(known, "X", 2, shots=(9, 10))["name"] == first["name"]


def test_rejecting_a_new_animal_leaves_it_to_be_named(known, tmp_path):
    first = visit(known, "X", 1)
    done(known, "reject", first["observation_id"], "--by", "anna")
    (row,) = known.rows("event")
    assert (row["name"], row["verdict_name"]) == ("", first["name"])
    assert f"Please look: not <bdi>{first['name']}</bdi>" in page(known, tmp_path)
    assert visit(known, "X", 2, shots=(9, 10))["name"] != first["name"]
