"""A gallery carried to another device, and to another model."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import apsw
import numpy as np
import pytest

from edge.gallery import compare
from edge.identity.trials import Reference

from . import conftest
from .conftest import Device, draw, save, write_model
from .test_curate import done, gallery, listed, refused, seen


@pytest.fixture
def other(known, tmp_path) -> Device:
    """A second device with the same model, which knows D."""
    (tmp_path / "inbox2").mkdir()
    device = Device(
        inbox=tmp_path / "inbox2", state=tmp_path / "state2", model=known.model, run=known.run
    )
    save(tmp_path / "more" / "D" / "1.jpg", draw("D", shot=1))
    assert device.enroll(tmp_path / "more").code == 0
    return device


def exported(device, tmp_path) -> Path:
    done(device, "export", str(tmp_path / "gallery.zip"))
    return tmp_path / "gallery.zip"


def test_an_imported_gallery_names_animals_and_twice_adds_nothing(known, other, tmp_path):
    done(known, "merge", "C", "B")
    file = exported(known, tmp_path)
    assert "added 3 individuals and 6 exemplars" in done(other, "import", str(file))
    assert {one: row["num_exemplars"] for one, row in listed(other).items()} == {
        "A": 2, "B": 4, "D": 1,
    }  # fmt: skip
    ids = listed(known)
    assert listed(other)["A"]["individual_id"] == ids["A"]["individual_id"]
    assert "import of 3 animals and 6 pictures" in done(other, "history")
    assert "all of the file was here already" in done(other, "import", str(file))
    event = seen(other, "C")
    assert (event["name"], event["decision"]) == ("B", "match")
    crops = {one.name for one in (known.state / "crops").iterdir()}
    assert crops <= {one.name for one in (other.state / "crops").iterdir()}
    done(other, "undo", "2")
    assert list(listed(other)) == ["D"]


def test_a_name_of_another_animal_is_refused_with_the_two_ways_out(known, other, tmp_path):
    done(other, "rename", "D", "A")
    file = exported(known, tmp_path)
    told = refused(other, "import", str(file))
    assert "other animals have these names here: A" in told
    assert "--rename" in told
    assert list(listed(other)) == ["A"]
    assert "edge-gallery merge 'A (2)' 'A'" in done(other, "import", str(file), "--rename")
    assert list(listed(other)) == ["A", "A (2)", "B", "C"]


def test_a_gallery_of_another_encoder_is_not_imported(known, tmp_path):
    file = exported(known, tmp_path)
    model = write_model(tmp_path / "other.onnx", seed=1)
    (tmp_path / "inbox2").mkdir()
    other = Device(inbox=tmp_path / "inbox2", state=tmp_path / "s2", model=model, run=known.run)
    save(tmp_path / "more" / "D" / "1.jpg", draw("D", shot=1))
    other.enroll(tmp_path / "more")
    assert "edge-gallery reembed --model FILE" in refused(other, "import", str(file))
    assert list(listed(other)) == ["D"]


def test_a_hostile_file_places_nothing_and_is_a_sentence(known, other, tmp_path):
    good = exported(known, tmp_path)
    with zipfile.ZipFile(good) as archive:
        parts = {one: archive.read(one) for one in archive.namelist()}
    (crop,) = [one for one in parts if one.startswith("crops/")][:1]

    def rows(table: str, **changes: object) -> dict[str, bytes]:
        lines = [json.loads(one) | changes for one in parts[table].splitlines()]
        return {table: "\n".join(json.dumps(one) for one in lines).encode()}

    wrong: list[tuple[dict[str, bytes], str]] = [
        ({"crops/../../evil.jpg": b"x"}, "it holds crops/../../evil.jpg"),
        ({"/etc/evil": b"x"}, "it holds /etc/evil"),
        ({"gallery.json": b'{"format": "fancl-gallery", "version": 9}'}, "of version 1"),
        ({crop: b"\xff\xd8 another picture"}, "is damaged"),
        ({crop: b"\0" * (9 << 20)}, "larger than 8388608 bytes"),
        ({"individuals.jsonl": b"[" * 100_000}, "individuals.jsonl line 1 is not JSON"),
        (rows("individuals.jsonl", individual_id="../up"), "not an id"),
        (rows("individuals.jsonl", name="\x1b[2J"), "can be no name"),
        (rows("individuals.jsonl", merged_into=None, status="merged"), "not living, retired"),
        (rows("exemplars.jsonl", crop="../../etc/passwd"), "not a sha256"),
        (rows("exemplars.jsonl", box=[0, 0, 1, float("nan")]), "not four numbers"),
        (rows("exemplars.jsonl", individual_id="0" * 8 + "-0000" * 3 + "-" + "0" * 12), "belongs"),
        (rows("embeddings.jsonl", embedding="AAAA"), "embedding is 'AAAA'"),
    ]
    for changes, told in wrong:
        bad = tmp_path / "bad.zip"
        with zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in (parts | changes).items():
                archive.writestr(name, data)
        assert told in refused(other, "import", str(bad)), told
    (tmp_path / "bad.zip").write_bytes(good.read_bytes()[:-40])
    assert "is no gallery file" in refused(other, "import", str(tmp_path / "bad.zip"))
    assert list(listed(other)) == ["D"]
    assert not list(tmp_path.rglob("evil*"))


def visits(device, tmp_path) -> None:
    """A second visit of A, B and C, so that encoders can be compared."""
    for animal in "ABC":
        for shot, day in ((3, 3), (4, 4)):
            taken = f"2026-04-0{day} 12:00:00"
            save(tmp_path / "visits" / animal / f"{shot}.jpg", draw(animal, shot=shot), taken)
    assert device.enroll(tmp_path / "visits").code == 0


def install(device, model: Path) -> None:
    ran = device.run("admin", "model", "install", str(model), "--state", str(device.state))
    assert ran.code == 0, ran.err


def watch_installed(device):
    return device.run("watch", str(device.inbox), "--once", "--state", str(device.state))


def test_another_model_takes_the_gallery_over_and_back(known, tmp_path):
    visits(known, tmp_path)
    install(known, known.model)
    seen(known, "A")
    new = write_model(tmp_path / "new.onnx", seed=1)
    assert "reembed --model FILE" in known.watch("--model", str(new)).err
    out = done(known, "reembed", "--model", str(new))
    assert "embedded 12 pictures of the gallery and 1 picture of sightings" in out
    assert "the model before: the right animal first in 100.0%" in out
    save(known.inbox / "2.jpg", draw("B", shot=9), "2026-05-02 06:30:00")
    assert watch_installed(known).code == 0
    assert [one["name"] for one in known.rows("event")] == ["A", "B"]
    assert len({one["encoder_id"] for one in known.rows("event")}) == 2
    done(known, "confirm", known.rows("event")[1]["event_id"])
    assert "embedded 1 picture of the gallery" in done(known, "reembed", "--back")
    save(known.inbox / "3.jpg", draw("C", shot=9), "2026-05-03 06:30:00")
    assert watch_installed(known).code == 0
    rows = known.rows("event")
    assert rows[2]["name"] == "C"
    assert rows[2]["encoder_id"] == rows[0]["encoder_id"]


def test_a_worse_model_is_refused_with_its_figures_and_forced_only_when_told(
    known, tmp_path, monkeypatch
):
    visits(known, tmp_path)
    install(known, known.model)
    before = known.state.joinpath("model.onnx").read_bytes()
    blind = write_blind_model(tmp_path / "blind.onnx", monkeypatch)
    told = refused(known, "reembed", "--model", str(blind))
    assert "not switched: on this gallery the new model finds the right animal first in" in told
    assert known.state.joinpath("model.onnx").read_bytes() == before
    connection = apsw.Connection(str(known.state / "edge.db"))
    encoders = connection.execute("SELECT count(DISTINCT encoder_id) FROM exemplar_embedding").get
    connection.close()
    assert encoders == 1  # nothing of the refused one is left
    done(known, "reembed", "--model", str(blind), "--force")
    assert known.state.joinpath("model.onnx").read_bytes() != before


def write_blind_model(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that sees hardly more than how bright a picture is."""
    tensor, num_inputs = conftest._tensor, conftest.SIDE**2 * 3
    weights = 1 + 1e-3 * np.random.default_rng(0).standard_normal((num_inputs, conftest.DIM))
    dull = weights.astype(np.float32)
    with monkeypatch.context() as patch:
        patch.setattr(
            conftest, "_tensor", lambda name, it: tensor(name, dull if name == "weights" else it)
        )
        return write_model(path, seed=77)  # a seed of its own: golden vectors are remembered by it


def test_whether_a_model_is_worse_cannot_be_told_without_second_visits(known, tmp_path):
    install(known, known.model)
    connection = apsw.Connection(str(known.state / "edge.db"))
    connection.execute("UPDATE exemplar SET encounter = 'only'")
    connection.close()
    new = write_model(tmp_path / "new.onnx", seed=1)
    assert "no animal has pictures of two visits" in refused(known, "reembed", "--model", str(new))


def test_a_lost_crop_is_named(known, tmp_path):
    install(known, known.model)
    next((known.state / "crops").iterdir()).unlink()
    new = write_model(tmp_path / "new.onnx", seed=1)
    assert "1 crop of the gallery cannot be embedded" in refused(
        known, "reembed", "--model", str(new)
    )
    ran = gallery(known, "export", str(tmp_path / "gallery.zip"))
    assert "restore STATE/crops from a backup" in ran.err
    assert not (tmp_path / "gallery.zip").exists()


def test_an_encoder_is_judged_by_other_visits_only():
    """a1 a2 are one visit; a3 another; b another animal, nearer to a1 than a3 is."""
    emb = np.array([[1, 0], [1, 0], [0.6, 0.8], [0.8, 0.6]], np.float32)
    figures = compare.leave_one_visit_out(
        Reference(emb_MD=emb, individual_M=np.array([0, 0, 0, 1]), group_M=np.array([0, 0, 1, 2]))
    )
    # a1, a2: b first, then a3: AP 1/2. a3: b (0.96), a1, a2: AP (1/2 + 2/3) / 2.
    assert figures is not None
    assert (figures.rank1, figures.num_queries) == (0.0, 3)
    assert figures.mAP == pytest.approx((0.5 + 0.5 + (1 / 2 + 2 / 3) / 2) / 3)
