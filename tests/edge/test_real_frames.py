"""Real frames through the whole pipeline: events and times, people, damage, a real detector."""

from __future__ import annotations

import csv
import json
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import apsw
import pytest

from .conftest import Device, age
from .test_box_formats import CATEGORIES

pytestmark = pytest.mark.data
PICTURES = (b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe1", b"\x89PNG\r\n", b"WEBPVP8")


def bring(source: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / source.name
    shutil.copyfile(source, target)
    age(target)
    return target


def test_the_night_burst_has_the_times_and_events_of_its_package(
    device: Device, shared: Path, tmp_path: Path
) -> None:
    """Its camera stayed in winter time; the dates in its file names are those of an upload."""
    package = shared / "camera-trap" / "camtrap-dp-example"
    with (package / "media.csv").open(newline="") as file:
        wanted = {row["fileName"]: row for row in csv.DictReader(file)}
    pictures = sorted((package / "media").glob("*.JPG"))
    for picture in pictures:
        bring(picture, device.inbox / wanted[picture.name]["deploymentID"])
    with (package / "deployments.csv").open(newline="") as file:
        rows = [row | {"time_zone": "+01:00"} for row in csv.DictReader(file)]
    table = tmp_path / "deployments.csv"
    with table.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    ran = device.watch("--deployments", str(table))
    assert ran.code == 0, ran.err
    assert "outside the time" not in ran.out
    found = device.by_name()
    assert len(found) == len(pictures) == 10
    for name, row in found.items():
        zone = timezone(timedelta(minutes=int(row["utc_offset_minutes"])))
        taken = datetime.fromisoformat(row["timestamp"]).replace(tzinfo=zone)
        expected = datetime.fromisoformat(wanted[name]["timestamp"])
        assert (name, taken, taken.utcoffset()) == (name, expected, expected.utcoffset())
        assert (row["latitude"], row["location_name"]) == ("50.699", "B_DM_val 4_'t WAD")
    with (package / "observations.csv").open(newline="") as file:
        events = {
            (one["eventStart"], one["eventEnd"])
            for one in csv.DictReader(file)
            if one["observationLevel"] == "event" and one["eventStart"].startswith("2021-04-11T19")
        }
    (event,) = {(one["start"], one["end"]) for one in device.rows("event")}
    utc = [datetime.fromisoformat(one) - timedelta(hours=1) for one in event]
    assert events == {tuple(f"{one:%Y-%m-%dT%H:%M:%SZ}" for one in utc)}


def test_clips_get_plausible_times(device: Device, shared: Path) -> None:
    """These four carry no time of their own: each is an event at its file's time, as long as it."""
    for source in (shared / "camera-trap" / "clips").iterdir():
        bring(source, device.inbox / source.stem)
    assert device.watch().code == 0
    frames: dict[str, list[int]] = {}
    for row in device.rows("media"):
        assert (row["kind"], row["time_source"]) == ("video", "mtime")
        frames.setdefault(row["deployment_id"], []).append(int(row["frame_ms"]))
    seconds = {"04250002": 60, "09190048_Hyena": 14, "EK000019": 60, "chimp": 14}
    assert {name: round(times[-1] / 1000) for name, times in frames.items()} == seconds
    assert all(times == sorted(set(times)) for times in frames.values())
    for event in device.rows("event"):
        start, end = (datetime.fromisoformat(event[key]) for key in ("start", "end"))
        lasted = round((end - start).total_seconds())
        assert lasted == seconds[event["deployment_id"]], event["deployment_id"]


def test_of_a_person_there_is_nothing_under_the_state_folder(
    known: Device, shared: Path, tmp_path: Path
) -> None:
    before = set((known.state / "crops").iterdir())
    source = bring(shared / "camera-trap" / "speciesnet" / "human.jpg", known.inbox)
    found = [{"category": "2", "conf": 0.9, "bbox": [0.3, 0.2, 0.4, 0.8]},
             {"category": "2", "conf": 0.4, "bbox": [0.0, 0.0, 1.0, 1.0]}]  # fmt: skip
    boxes = tmp_path / "boxes.json"
    boxes.write_text(
        json.dumps(
            {
                "images": [{"file": "human.jpg", "detections": found}],
                "detection_categories": CATEGORIES,
            }
        )
    )
    whole = source.read_bytes()
    ran = known.watch("--boxes", str(boxes), "--after", "move")
    assert ran.code == 0, ran.err
    assert source.read_bytes() == whole
    assert set((known.state / "crops").iterdir()) == before
    connection = apsw.Connection(str(known.state / "edge.db"), flags=apsw.SQLITE_OPEN_READONLY)
    rows = list(
        connection.execute(
            "SELECT observation_type, embedding, crop, observation_id, event_id FROM detection"
        )
    )
    connection.close()
    assert rows == [("human", None, None, None, None)] * 2
    for path in known.state.rglob("*"):
        if path.is_file() and path not in before:
            data = path.read_bytes()
            assert whole[2000:2064] not in data
            assert not any(start in data for start in PICTURES), path


def test_a_real_detector_finds_elephants_and_leaves_blanks_alone(
    known: Device, shared: Path, tmp_path: Path
) -> None:
    folder = shared / "camera-trap"
    detector = tmp_path / "yolox.onnx"
    detector.write_bytes((folder / "detector" / "yolox_nano_416.onnx").read_bytes())
    elephants = folder / "speciesnet" / "african_elephants.jpg"
    ran = known.run(
        "admin", "detector", "check", str(detector), "--on", str(elephants), "--out",
        str(tmp_path / "look.jpg"),
    )  # fmt: skip
    assert ran.code == 0, ran.err
    description = detector.with_suffix(".json")
    content = json.loads(description.read_text()) | {"animals": ["bird", "elephant"]}
    description.write_text(json.dumps(content))
    names = ["african_elephants", "african_elephants_cmyk", "african_elephants_bw",
             "african_elephants_with_exif_orientation", "blank", "blank2", "blank3", "human",
             "vehicle"]  # fmt: skip
    for name in names:
        bring(folder / "speciesnet" / f"{name}.jpg", known.inbox)
    assert known.watch("--detector", str(detector)).code == 0
    kinds = {Path(row["file_path"]).stem: set() for row in known.rows("media")}
    for row in known.rows("media"):
        kinds[Path(row["file_path"]).stem].add(row["observation_type"])
    assert {name: "animal" in kinds[name] for name in names} == {
        name: name.startswith("african") for name in names
    }
    assert {name for name in names if kinds[name] == {"blank"}} == {"blank", "blank2", "blank3"}
    assert kinds["human"] == {"human"}


def test_a_truncated_picture_is_flagged_and_others_are_not(
    device: Device, shared: Path, tmp_path: Path
) -> None:
    for name in ("truncated_file", "with_exif_orientation", "cmyk", "bw"):
        bring(shared / "camera-trap/speciesnet" / f"african_elephants_{name}.jpg", device.inbox)
    settings = tmp_path / "edge.toml"
    settings.write_text("max_wait_seconds = 0\n")
    device.watch("--config", str(settings))
    rows = {row["file_path"].rpartition("elephants_")[2]: row for row in device.rows("media")}
    assert rows.pop("truncated_file.jpg")["reason"] == "truncated"
    assert {(row["state"], row["damage"], row["kind"]) for row in rows.values()} == {
        ("done", "", "image")
    }
