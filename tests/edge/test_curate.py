"""edge-gallery as a ranger uses it."""

from __future__ import annotations

import json

import apsw

from edge.gallery import gallery_log
from edge.record import store_log
from edge.record.state import StateFolder, locked
from edge.record.store import open_reader, open_store

from .conftest import draw, save


def gallery(device, *words):
    return device.run("gallery", *words, "--state", str(device.state))


def done(device, *words) -> str:
    ran = gallery(device, *words)
    assert ran.code == 0, ran.err
    return ran.out


def refused(device, *words) -> str:
    ran = gallery(device, *words)
    assert ran.code == 1
    assert "Traceback" not in ran.err
    return ran.err


def listed(device, *flags) -> dict[str, dict]:
    return {one["name"]: one for one in json.loads(done(device, "list", "--json", *flags))}


def seen(device, animal, shot=7, name="1.jpg", taken="2026-05-01 06:30:00") -> dict[str, str]:
    """The event of one picture that walks in now."""
    save(device.inbox / name, draw(animal, shot=shot), taken)
    assert device.watch().code == 0
    return device.rows("event")[-1]


def test_a_renamed_animal_keeps_its_id_and_its_sightings_show_the_new_name(known):
    seen(known, "A")
    before = listed(known)["A"]
    out = done(known, "rename", "A", "Luna", "--by", "anna")
    assert out.startswith("A is now called Luna (entry 4; `edge-gallery undo 4`)")
    assert listed(known)["Luna"]["individual_id"] == before["individual_id"]
    assert known.rows("event")[0]["name"] == "Luna"
    assert "4" in done(known, "history", "Luna").split()
    assert "anna  rename A to Luna" in done(known, "history")


def test_a_merged_animals_id_and_old_sightings_stand_for_the_one_that_stayed(known):
    event = seen(known, "A")
    assert event["name"] == "A"
    done(known, "merge", "A", "B")
    assert known.rows("event")[0]["name"] == "B"
    shown = json.loads(done(known, "show", event["individual_id"], "--json"))
    assert (shown["name"], shown["num_exemplars"]) == ("B", 4)
    assert "once also: A" in done(known, "show", "B")
    assert listed(known, "--all")["A"]["status"] == "merged"
    assert seen(known, "A", 8, "2.jpg", "2026-05-02 06:30:00")["name"] == "B"
    done(known, "split", "B", "--back", "A")
    assert known.rows("event")[0]["name"] == "A"
    assert listed(known)["A"]["individual_id"] == event["individual_id"]


def test_pictures_leave_for_a_new_animal_by_id(known):
    exemplar = json.loads(done(known, "show", "A", "--json"))["exemplars"][0]["exemplar_id"]
    done(known, "split", "A", exemplar, "--name", "Nova")
    assert {one: row["num_exemplars"] for one, row in listed(known).items()} == {
        "A": 1, "B": 2, "C": 2, "Nova": 1,
    }  # fmt: skip
    assert "not none and not all" in refused(
        known, "split", "Nova", exemplar[-12:], "--name", "Kito"
    )


def test_a_confirmed_sighting_joins_the_animal_and_is_never_decided_anew(known):
    event = seen(known, "A")
    done(known, "confirm", event["event_id"], "--flank", "left")
    row = listed(known)["A"]
    assert (row["num_exemplars"], row["num_left"]) == (3, 1)
    late = seen(known, "B", 9, "2.jpg", "2026-05-01 06:30:05")
    assert late["event_id"] == event["event_id"]
    assert [one["name"] for one in known.rows("event")] == ["A", "B"]


def test_a_sighting_of_nobody_known_becomes_a_new_animal_that_is_matched_then(known):
    event = seen(known, "X")
    done(known, "reject", event["observation_id"])
    out = done(known, "assign", event["observation_id"], "Xena", "--new")
    assert "is Xena, who now has 1 picture" in out
    assert seen(known, "X", 8, "2.jpg", "2026-05-02 06:30:00")["name"] == "Xena"


def test_a_retired_animal_is_not_matched_any_more(known):
    done(known, "retire", "A")
    assert "A" not in listed(known)
    assert seen(known, "A")["name"] != "A"
    assert "A is retired" in refused(known, "rename", "A", "Luna")


def test_an_undo_shows_in_the_history_and_can_itself_be_undone(known):
    done(known, "merge", "A", "B")
    out = done(known, "undo", "4")
    assert "undone: 4  merge A into B" in out
    assert list(listed(known)) == ["A", "B", "C"]
    assert "(undone by 5)" in done(known, "history", "A")
    done(known, "undo", "5")
    assert list(listed(known)) == ["B", "C"]


def test_the_gallery_is_shown_as_it_was(known):
    moment = json.loads(done(known, "history", "--json"))[-1]["logged_at"]
    done(known, "rename", "A", "Luna")
    assert "A" in listed(known, "--at", moment)
    assert listed(known, "--at", "2001-01-01T12:00") == {}
    assert "A  2 exemplars" in done(known, "show", "A", "--at", moment)
    assert "write it like 2026-05-01T12:00" in refused(known, "list", "--at", "yesterday")


def test_a_picture_with_the_wrong_label_goes_to_the_right_animal(known):
    exemplar = json.loads(done(known, "show", "A", "--json"))["exemplars"][0]["exemplar_id"]
    done(known, "move", exemplar, "B")
    assert (listed(known)["A"]["num_exemplars"], listed(known)["B"]["num_exemplars"]) == (1, 3)
    assert "is B's already" in refused(known, "move", exemplar, "B")


def test_the_flank_of_a_picture_can_be_said_later(known):
    exemplar = json.loads(done(known, "show", "A", "--json"))["exemplars"][0]["exemplar_id"]
    done(known, "flank", exemplar, "right")
    assert "(0 left, 1 right)" in done(known, "show", "A")


_REFUSED = (
    (("show", "a"), "the nearest names are: A"),
    (("show", "Zebra"), "nor one with a name like it; `edge-gallery list`"),
    (("merge", "A", "A"), "A cannot be merged with itself"),
    (("rename", "A", "B"), "another animal called B (2 pictures)"),
    (("rename", "A", " "), "can be no name"),
    (("rename", "A", "A"), "is called so already"),
    (("split", "A", "0000", "--name", "N"), "has no picture and no encounter 0000"),
    (("split", "A"), "give either the pictures that leave, or --back"),
    (("split", "A", "--back", "B"), "was not merged into A"),
    (("undo", "99"), "no entry 99; `edge-gallery history`"),
    (("confirm", "nothing"), "there is no sighting nothing"),
    (("flank", "nothing", "left"), "no exemplar has an id like nothing"),
)


def test_what_cannot_be_done_is_a_sentence_and_changes_nothing(known):
    before = listed(known)
    for words, told in _REFUSED:
        assert told in refused(known, *words)
    assert listed(known) == before


def test_an_empty_gallery_says_how_to_fill_it(device):
    assert "add animals with `edge-gallery enroll FOLDER`" in refused(device, "rename", "A", "B")


def test_a_name_can_be_changed_while_edge_watch_holds_the_state(known, tmp_path):
    with locked(StateFolder(root=known.state)):
        done(known, "rename", "A", "Luna")
        assert "is in use" in known.enroll(tmp_path / "known").err
    assert "Luna" in listed(known)


def test_what_an_earlier_release_enrolled_becomes_the_logs_beginning(known, tmp_path):
    """Put back to the second step by hand, then opened by this release."""
    path = known.state / "edge.db"
    before = listed(known)
    connection = apsw.Connection(str(path))
    old = tmp_path / "old.db"
    _downgrade(connection, old)
    connection.close()
    store = open_store(old)
    tables = store_log.load(store)
    entries = store_log.entries(store)
    assert gallery_log.replay(entries) == tables
    assert {one.action for one in entries} == {"enrol"}
    assert {one.name: one.individual_id for one in tables.individuals.values()} == {
        name: row["individual_id"] for name, row in before.items()
    }
    assert len(tables.exemplars) == 6
    assert store.execute("SELECT count(*) FROM exemplar_embedding") == [(6,)]
    assert store.execute("PRAGMA integrity_check") == [("ok",)]
    store.close()
    open_reader(old).close()


def _downgrade(connection: apsw.Connection, target) -> None:
    """The database as the second step left it, with odd fractions in its boxes."""
    from importlib import resources

    steps = [
        resources.files("edge.record").joinpath(f"schema/{number:04}.sql").read_text()
        for number in (1, 2)
    ]
    old = apsw.Connection(str(target))
    for step in steps:
        old.execute(step)
    old.execute("INSERT INTO meta VALUES ('schema_version', '2')")
    for row in connection.execute("SELECT individual_id, own_name, 0, created_at FROM individual"):
        old.execute("INSERT INTO individual VALUES (?, ?, ?, ?)", row)
    rows = connection.execute(
        "SELECT exemplar_id, individual_id, sha256, display, 0.1 + 0.2, 1.0 / 3, 2.0 / 3, 1e-7, "
        "flank, encounter, captured_at, embedding, encoder_id, crop, created_at "
        "FROM exemplar JOIN exemplar_embedding USING (exemplar_id)"
    )
    for row in rows:
        old.execute(f"INSERT INTO exemplar VALUES ({','.join('?' * 15)})", row)
    old.execute("INSERT INTO gallery_log VALUES ('x', 'enroll', 'y', '{\"pictures\": []}', '2026')")
    old.close()
