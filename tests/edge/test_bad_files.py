"""What cannot be used is a row with its reason, and the run goes on."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from .conftest import age, draw, hollow_png, save

DAYS = 2 * 86400  # longer than an incomplete file is waited for


def _truncated() -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(draw("A")).save(buffer, format="JPEG")
    return buffer.getvalue()[:-600]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("zero.jpg", b"", "empty"),
        ("zeros.jpg", bytes(5000), "truncated"),
        ("text.jpg", b"hello, I am not a picture at all", "type"),
        ("gif.jpg", b"GIF89a" + bytes(100), "type"),
        ("truncated.jpg", _truncated(), "truncated"),
        ("bomb.png", hollow_png(60000, 60000), "too-large"),
        ("hollow.png", hollow_png(100, 100), "undecodable"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_picture_that_cannot_be_decoded_is_a_row_with_its_reason(known, name, data, reason):
    (known.inbox / name).write_bytes(data)
    age(known.inbox / name, DAYS)
    save(known.inbox / "good.jpg", draw("A", shot=7))
    ran = known.watch()
    assert ran.code == 0, ran.err
    rows = known.by_name()
    assert (rows[name]["state"], rows[name]["reason"]) == ("quarantined", reason)
    assert rows["good.jpg"]["best_name"] == "A"
    assert "1 quarantined" in ran.out
    listed = known.run("admin", "quarantine", "list", "--state", str(known.state))
    assert f"{reason}  {known.inbox / name}" in listed.out


def test_it_is_not_tried_again_until_its_bytes_change(known):
    bad = known.inbox / "1.jpg"
    bad.write_bytes(_truncated())
    age(bad, DAYS)
    known.watch()
    assert "0 new frames" in (ran := known.watch()).out
    assert "0 quarantined" in ran.out
    save(bad, draw("A", shot=7))
    known.watch()
    assert [row["state"] for row in known.rows("media")] == ["done"]


def test_a_name_that_is_not_utf8_is_processed_and_noted(known):
    folder = os.fsencode(known.inbox / "cam")
    save(known.inbox / "cam" / "1.jpg", draw("A", shot=7))
    os.rename(folder + b"/1.jpg", folder + b"/\xff\xfe\x1b.jpg")  # noqa: PTH104
    ran = known.watch()
    assert ran.code == 0, ran.err
    (row,) = known.rows("media")
    assert row["file_path"].endswith(r"/cam/\xff\xfe\x1b.jpg")
    assert (row["note"], row["state"], row["best_name"]) == ("name-not-utf8", "done", "A")


def test_links_pipes_and_folders_with_a_pictures_name_are_not_opened(known, tmp_path):
    outside = save(tmp_path / "secret.jpg", draw("A", shot=7))
    (known.inbox / "link.jpg").symlink_to(outside)
    (known.inbox / "loop").symlink_to(known.inbox)
    os.mkfifo(known.inbox / "pipe.jpg")
    (known.inbox / "folder.jpg").mkdir()
    ran = known.watch()
    assert ran.code == 0
    rows = known.by_name()
    assert {name: row["reason"] for name, row in rows.items()} == dict.fromkeys(
        ("link.jpg", "loop", "pipe.jpg", "folder.jpg"), "not-a-file"
    )
    assert "0 quarantined" in known.watch().out


def test_a_pipe_put_in_a_pictures_place_does_not_hang(known):
    from edge.errors import MediaError
    from edge.intake.inbox import Inbox

    picture = save(known.inbox / "1.jpg", draw("A"))
    inbox = Inbox(known.inbox, 0, 0)
    (file,) = inbox.scan().ready
    picture.unlink()
    os.mkfifo(picture)
    with pytest.raises(MediaError, match="not-a-file"):
        inbox.read(file)


def test_a_link_put_in_a_pictures_place_is_not_followed(known, tmp_path):
    from edge.errors import MediaError
    from edge.intake.inbox import Inbox

    picture = save(known.inbox / "1.jpg", draw("A"))
    inbox = Inbox(known.inbox, 0, 0)
    (file,) = inbox.scan().ready
    picture.unlink()
    picture.symlink_to(save(tmp_path / "other.jpg", draw("A")))
    with pytest.raises(MediaError, match="not-a-file"):
        inbox.read(file)


def test_a_file_that_changed_since_the_scan_is_left_for_the_next(known):
    from edge.intake.inbox import Inbox

    picture = save(known.inbox / "1.jpg", draw("A"))
    inbox = Inbox(known.inbox, 0, 0)
    (file,) = inbox.scan().ready
    save(picture, draw("B"))
    assert inbox.read(file) is None
    picture.unlink()
    assert inbox.read(file) is None


def test_a_file_that_may_not_be_read_is_a_row_until_it_may(known, monkeypatch):
    picture = save(known.inbox / "1.jpg", draw("A"))
    really_open = os.open

    def refuse(path, *args, **kwargs):  # as for an ordinary user; root may read everything
        if path == picture.name:
            raise PermissionError(errno.EACCES, "Permission denied")
        return really_open(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    assert known.watch().code == 0
    row = known.by_name()["1.jpg"]
    assert (row["state"], row["reason"], row["sha256"]) == ("quarantined", "unreadable", "")
    monkeypatch.undo()
    known.watch()
    assert [row["state"] for row in known.rows("media")] == ["done"]


def test_too_deep_a_folder_is_a_row(known):
    deep = known.inbox.joinpath(*"abcdefghi")
    save(deep / "1.jpg", draw("A"))
    known.watch()
    (row,) = known.rows("media")
    assert row["reason"] == "unreadable"
    assert Path(row["file_path"]) == deep


@pytest.mark.parametrize(
    "name", [".hidden.jpg", "a.jpg.tmp", "a.jpg.part", "a.jpg.filepart", ".in.a.jpg.", "notes.txt"]
)
def test_unfinished_uploads_and_other_files_are_not_touched(known, name):
    save(known.inbox / name, draw("A"))
    known.watch()
    assert known.rows("media") == []


def test_the_same_bad_bytes_under_another_name_are_a_row_too(known):
    for name in ("1.jpg", "2.jpg"):
        (known.inbox / name).write_bytes(b"no picture")
        age(known.inbox / name)
        known.watch()
    assert {n: row["reason"] for n, row in known.by_name().items()} == {
        "1.jpg": "type",
        "2.jpg": "type",
    }
