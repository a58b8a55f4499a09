"""edge-gallery index by its command: the same names with and without, and what it tells."""

from __future__ import annotations

from .conftest import draw, save


def index(device, *flags):
    return device.run(
        "gallery", "index", "--state", str(device.state), "--model", str(device.model), *flags
    )


def index_files(device):
    return list(device.state.glob("search-*.faiss"))


def test_a_small_gallery_gets_no_index_and_is_told_why(known):
    ran = index(known)
    assert ran.code == 0, ran.err
    assert "no index is needed: the gallery holds 6 exemplars" in ran.out
    assert index_files(known) == []


def test_pictures_are_named_alike_with_and_without_the_index(known, tmp_path):
    save(known.inbox / "1.jpg", draw("B", shot=8), "2026-05-01 06:00:00")
    assert known.watch().code == 0
    ran = index(known, "--over", "3")
    assert ran.code == 0, ran.err
    assert "the index was made of 6 exemplars, 6 of them new" in ran.out
    assert len(index_files(known)) == 1
    save(known.inbox / "2.jpg", draw("B", shot=8, side=96), "2026-05-01 09:00:00")
    assert known.watch().code == 0
    first, second = (known.by_name()[name] for name in ("1.jpg", "2.jpg"))
    assert first["best_name"] == second["best_name"] == "B"
    assert first["runner_up_name"] == second["runner_up_name"]


def test_what_is_enrolled_later_is_found_beside_the_index_and_then_added_to_it(known, tmp_path):
    assert index(known, "--over", "3").code == 0
    (before,) = index_files(known)
    save(tmp_path / "more" / "D" / "1.jpg", draw("D", shot=1))
    assert known.enroll(tmp_path / "more").code == 0
    save(known.inbox / "1.jpg", draw("D", shot=8))
    assert known.watch().code == 0
    assert known.by_name()["1.jpg"]["best_name"] == "D"
    ran = index(known, "--over", "3")
    assert "the index is up to date: 7 exemplars, 1 of them new" in ran.out
    (after,) = index_files(known)
    assert after != before
    assert "7 exemplars, 0 of them new" in index(known, "--over", "3").out
    assert index_files(known) == [after]
