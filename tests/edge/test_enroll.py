from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import apsw
import pytest

from .conftest import draw, save


def listed(device) -> dict[str, str]:
    ran = device.run("gallery", "list", "--state", str(device.state))
    assert ran.code == 0, ran.err
    return {line.split("  ")[0]: line for line in ran.out.splitlines()}


def write_table(folder: Path, rows: list[dict[str, str]]) -> Path:
    table = folder / "metadata.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return table


def test_first_level_folders_are_the_individuals(known):
    lines = listed(known)
    assert list(lines) == ["A", "B", "C"]
    assert "2 exemplars (0 left, 0 right)" in lines["A"]


def test_enrolling_twice_adds_nothing_and_new_pictures_join_the_old(known, tmp_path):
    again = known.enroll(tmp_path / "known")
    assert "added 0 exemplars" in again.out
    assert "6 were there already" in again.out
    save(tmp_path / "more" / "A" / "3.jpg", draw("A", shot=3))
    known.enroll(tmp_path / "more")
    assert "3 exemplars" in listed(known)["A"]


def test_the_same_crop_in_two_individuals_is_said(known, tmp_path):
    save(tmp_path / "more" / "Anna" / "1.jpg", draw("A", shot=1))
    ran = known.enroll(tmp_path / "more")
    assert "is now an exemplar of Anna and of A" in ran.out


def test_every_enrolment_is_in_the_log_which_cannot_be_changed(known):
    connection = apsw.Connection(str(known.state / "edge.db"))
    rows = list(connection.execute("SELECT action, details FROM gallery_log"))
    assert [row[0] for row in rows] == ["enrol"] * 3
    assert sum(len(json.loads(row[1])["exemplars"]) for row in rows) == 6
    for change in ("UPDATE gallery_log SET action = 'x'", "DELETE FROM gallery_log"):
        with pytest.raises(apsw.ConstraintError, match="append-only"):
            connection.execute(change)
    connection.close()


def test_a_metadata_csv_gives_boxes_flanks_and_one_split(device, tmp_path):
    save(tmp_path / "data" / "two.jpg", draw("A", "B", shot=1))
    save(tmp_path / "data" / "query.jpg", draw("C", shot=1))
    table = write_table(
        tmp_path / "data",
        [
            {"identity": "A", "path": "two.jpg", "bbox": "[0, 0, 64, 64]", "position": "left",
             "split": "gallery"},
            {"identity": "B", "path": "two.jpg", "bbox": "[64, 0, 64, 64]", "position": "right",
             "split": "gallery"},
            {"identity": "C", "path": "query.jpg", "bbox": "", "position": "", "split": "query"},
        ],
    )  # fmt: skip
    assert device.enroll(table, "--split", "gallery").code == 0
    lines = listed(device)
    assert set(lines) == {"A", "B"}
    assert "(1 left, 0 right)" in lines["A"]
    save(device.inbox / "1.jpg", draw("B", shot=5))
    device.watch()
    (event,) = device.rows("event")
    assert (event["name"], event["decision"]) == ("B", "match")


def test_a_runs_clusters_get_provisional_names_and_outliers_none(device, tmp_path):
    for number, animal in enumerate("AABBX"):
        save(tmp_path / "data" / f"{number}.jpg", draw(animal, shot=number))
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"data": str(tmp_path / "data")}))
    lines = ["path,sha256,pseudo_label,similarity_to_centre,burst,x,y,width,height"]
    for number, label in enumerate((0, 0, 7, 7, -1)):
        lines.append(f"{number}.jpg,{'0' * 64},{label},0.9,-1,,,,")
    lines[1] = f"0.jpg,{'0' * 64},0,0.9,-1,0,0,1,1"
    (run / "clusters.csv").write_text("\n".join(lines) + "\n")
    ran = device.enroll(run)
    assert ran.code == 0, ran.err
    found = listed(device)
    assert list(found) == ["cluster 000", "cluster 007"]
    assert found["cluster 007"].endswith("provisional")
    save(device.inbox / "1.jpg", draw("B", shot=9))
    device.watch()
    assert device.rows("event")[0]["name"] == "cluster 007"


def test_a_picture_that_cannot_be_used_is_told_and_the_rest_enrolled(device, tmp_path):
    save(tmp_path / "known" / "A" / "1.jpg", draw("A"))
    (tmp_path / "known" / "A" / "2.jpg").write_bytes(b"no picture")
    ran = device.enroll(tmp_path / "known")
    assert ran.code == 0
    assert "added 1 exemplar of 1 individual" in ran.out
    assert "2.jpg (type: not a JPEG or PNG picture)" in ran.out


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda data: None, "does not exist"),
        (lambda data: data.mkdir(), "no pictures in"),
        (lambda data: save(data / "1.jpg", draw("A")), "belong to nobody, the first is 1.jpg"),
        (
            lambda data: (
                (data / "A").mkdir(parents=True) or (data / "A" / "1.jpg").write_bytes(b"x")
            ),
            "none of the 1 picture can be used",
        ),
    ],
)
def test_what_cannot_be_enrolled_is_a_sentence(device, tmp_path, make, told):
    make(tmp_path / "data")
    ran = device.enroll(tmp_path / "data")
    assert ran.code == 1
    assert told in ran.err
    assert "Traceback" not in ran.err


def test_a_run_without_its_config_is_a_sentence(device, tmp_path):
    (tmp_path / "clusters.csv").write_text("path,sha256,pseudo_label\na.jpg,0,0\n")
    ran = device.enroll(tmp_path / "clusters.csv")
    assert ran.code == 1
    assert "config.json does not tell where the training pictures are" in ran.err


def test_a_folder_whose_name_is_not_utf8_gives_a_name_that_can_be_printed(device, tmp_path):
    save(tmp_path / "known" / "Lo" / "1.jpg", draw("A"))
    folder = os.fsencode(tmp_path / "known")
    os.rename(folder + b"/Lo", folder + b"/L\xf6we")  # noqa: PTH104
    ran = device.enroll(tmp_path / "known")
    assert ran.code == 0, ran.err
    assert list(listed(device)) == [r"L\xf6we"]


def test_a_loose_picture_beside_the_individuals_is_left_out_and_told(device, tmp_path):
    save(tmp_path / "known" / "A" / "1.jpg", draw("A"))
    save(tmp_path / "known" / "loose.jpg", draw("B"))
    ran = device.enroll(tmp_path / "known")
    assert ran.code == 0, ran.err
    assert "left out, as it lies in no individual's folder: loose.jpg" in ran.out
    assert list(listed(device)) == ["A"]


def test_a_row_of_a_table_without_an_identity_is_not_left_out_in_silence(device, tmp_path):
    for name in ("1.jpg", "2.jpg"):
        save(tmp_path / "data" / name, draw("A"))
    rows = [{"identity": "A", "path": "1.jpg"}, {"identity": "", "path": "2.jpg"}]
    ran = device.enroll(write_table(tmp_path / "data", rows))
    assert ran.code == 1
    assert "1 of 2 pictures belong to nobody, the first is 2.jpg" in ran.err
