"""Where and when: the deployments table, clock shifts, time zones, dates in file names."""

from __future__ import annotations

from datetime import datetime

import pytest

from edge.errors import ConfigError
from edge.watch.deployments import read_deployments
from edge.watch.taken import NamePattern

from .. import media_files
from .conftest import age, draw, save

HEAD = (
    "deploymentID,locationID,locationName,latitude,longitude,deploymentStart,deploymentEnd,"
    "time_zone,clock_shift_seconds\n"
)
RIVER = "cam1,L7,River bend,-1.5,36.25,2026-05-01T00:00:00+03:00,2026-06-01T00:00:00+03:00"
TAKEN = "2026-05-02 06:30:00"


def table(tmp_path, *rows):
    path = tmp_path / "deployments.csv"
    path.write_text(HEAD + "".join(f"{row}\n" for row in rows))
    return str(path)


def test_a_camera_that_goes_an_hour_slow_is_put_right_and_its_place_told(known, tmp_path):
    save(known.inbox / "cam1" / "1.jpg", draw("A", shot=1), TAKEN)
    save(known.inbox / "cam2" / "2.jpg", draw("B", shot=1), TAKEN)
    path = table(tmp_path, f"{RIVER},Africa/Nairobi,3600")
    ran = known.watch("--deployments", path)
    assert ran.code == 0, ran.err
    one, two = (known.by_name()[name] for name in ("1.jpg", "2.jpg"))
    columns = (
        "timestamp", "camera_time", "utc_offset_minutes", "latitude", "longitude", "location_id",
        "location_name",
    )  # fmt: skip
    assert [one[key] for key in columns] == [
        "2026-05-02T07:30:00", "2026-05-02T06:30:00", "180", "-1.5", "36.25", "L7", "River bend",
    ]  # fmt: skip
    assert [two[key] for key in columns] == ["2026-05-02T06:30:00"] * 2 + [""] * 5
    (event,) = [row for row in known.rows("event") if row["deployment_id"] == "cam1"]
    assert (event["start"], event["location_name"]) == ("2026-05-02T07:30:00", "River bend")


def test_an_offset_that_the_camera_wrote_beats_the_table(known, tmp_path):
    details = [media_files.text(0x9003, "2026:05:02 06:30:00"), media_files.text(0x9011, "+05:30")]
    path = known.inbox / "cam1" / "1.jpg"
    path.parent.mkdir()
    path.write_bytes(media_files.jpeg(draw("A"), exif=media_files.tiff([], details)))
    age(path)
    known.watch("--deployments", table(tmp_path, f"{RIVER},+03:00,-60"))
    row = known.by_name()["1.jpg"]
    assert (row["utc_offset_minutes"], row["timestamp"]) == ("330", "2026-05-02T06:29:00")


def test_a_file_s_own_time_is_not_shifted(known, tmp_path):
    save(known.inbox / "cam1" / "1.jpg", draw("A"))
    path = table(tmp_path, f"{RIVER},Africa/Nairobi,3600000")
    known.watch("--deployments", path)
    row = known.by_name()["1.jpg"]
    assert (row["time_source"], row["camera_time"], row["utc_offset_minutes"]) == ("mtime", "", "")
    modified = datetime.fromtimestamp((known.inbox / "cam1" / "1.jpg").stat().st_mtime)
    assert datetime.fromisoformat(row["timestamp"]) == modified


def test_summer_time_begins_within_a_deployment(tmp_path):
    one = read_deployments(_path(table(tmp_path, f"{RIVER},Europe/Brussels,")))["cam1"]
    assert one.offset_minutes(datetime(2021, 3, 27, 12)) == 60
    assert one.offset_minutes(datetime(2021, 3, 29, 12)) == 120


@pytest.mark.parametrize(
    ("taken", "told"), [("2026-05-02 06:30:00", False), ("2026-04-30 23:59:59", True),
                        ("2026-06-01 00:00:01", True), ("2026-06-01 00:00:00", False)],
)  # fmt: skip
def test_a_picture_of_before_or_after_its_deployment_is_told(known, tmp_path, taken, told):
    save(known.inbox / "cam1" / "1.jpg", draw("A"), taken)
    ran = known.watch("--deployments", table(tmp_path, f"{RIVER},+03:00,"))
    assert ("1 picture lies outside the time" in ran.out) == told


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (",L7,,,,,,,", "line 2: deploymentID is empty"),
        ("cam1,,,95,,,,,", "line 2: latitude is '95', it must be a number from -90 to 90"),
        ("cam1,,,,,soon,,,", "deploymentStart is 'soon', it must be a time such as"),
        ("cam1,,,,,,,Mars/Base,", "time_zone is 'Mars/Base', it must be a time zone this system"),
        ("cam1,,,,,,,../../etc/passwd,", "time_zone is"),
        ("cam1,,,,,,,,an hour", "clock_shift_seconds is 'an hour', it must be a number"),
        ("cam1,,,,,,,,\ncam1,,,,,,,,", "line 3: deploymentID cam1 is there twice"),
    ],
)
def test_a_cell_that_cannot_be_read_is_named(tmp_path, row, told):
    with pytest.raises(ConfigError, match=told):
        read_deployments(_path(table(tmp_path, row)))


def test_a_table_of_something_else_is_refused(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("station,x,y\n1,2,3\n")
    with pytest.raises(ConfigError, match="no column deploymentID"):
        read_deployments(path)


def _path(text):
    from pathlib import Path

    return Path(text)


# --- dates in file names


def named(known, tmp_path, pattern):
    settings = tmp_path / "edge.toml"
    settings.write_text(f'time_from_name = "{pattern}"\n')
    return known.watch("--config", str(settings))


def test_a_date_in_a_name_is_read_only_when_asked_and_never_beats_the_camera(known, tmp_path):
    save(known.inbox / "20250304050607-RCNX0001.JPG", draw("A", shot=1))
    save(known.inbox / "20250304050607-RCNX0002.JPG", draw("A", shot=2), TAKEN)
    save(known.inbox / "20251304050607.JPG", draw("A", shot=3))  # no month 13
    assert named(known, tmp_path, "%Y%m%d%H%M%S").code == 0
    rows = known.by_name()
    assert [row["time_source"] for _, row in sorted(rows.items())] == ["name", "exif", "mtime"]
    assert rows["20250304050607-RCNX0001.JPG"]["timestamp"] == "2025-03-04T05:06:07"
    assert rows["20250304050607-RCNX0002.JPG"]["timestamp"] == "2026-05-02T06:30:00"


def test_no_date_in_a_name_is_read_unasked(known):
    save(known.inbox / "20250304050607.JPG", draw("A", shot=1))
    known.watch()
    assert known.by_name()["20250304050607.JPG"]["time_source"] == "mtime"


@pytest.mark.parametrize("pattern", ["%Y-%m-%d", "%Y%m%d%H%M%S%f", "%Y%y%m%d%H%M", "%Y%m%d%d%H%M"])
def test_a_pattern_that_gives_no_time_is_refused(pattern):
    with pytest.raises(ConfigError, match="time_from_name"):
        NamePattern(pattern)


def test_a_pattern_s_other_letters_mean_themselves():
    pattern = NamePattern("IMG_%y.%m.%d %H%M")
    assert pattern.read("xIMG_25.03.04 0506.jpg") == datetime(2025, 3, 4, 5, 6)
    assert pattern.read("xIMG_25x03.04 0506.jpg") is None
