"""Splits of labelled pictures: no animal on both sides, halves by rule, the known cases."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import InputError
from edge.pictures import Picture, read_collection
from trainer import cli_split
from trainer.splits import count, split_pictures


def picture(
    name: str, identity: str | None, encounter: str | None = None, flank: str = "unknown",
    split: str | None = None,
) -> Picture:  # fmt: skip
    return Picture(
        path=Path(name), name=name, identity=identity, box=None, captured_at=None,
        encounter=encounter, flank=flank, split=split,  # type: ignore[arg-type]
    )  # fmt: skip


def herd() -> list[Picture]:
    """Ten animals of one to ten pictures, two a side and three an encounter."""
    return [
        picture(
            f"{animal}-{number}.jpg", str(animal), f"e{number // 3}", ("left", "right")[number % 2]
        )
        for animal in range(10)
        for number in range(animal + 1)
    ]


def test_no_animal_is_trained_on_and_asked_about() -> None:
    pictures = herd()
    splits = split_pictures(pictures, "animal", 0.4, seed=1, anew=False)
    sides = defaultdict(set)
    for one, split in zip(pictures, splits, strict=True):
        sides[one.identity].add(split)
    assert sum("train" in found for found in sides.values()) == 6
    assert all(found == {"train"} or "train" not in found for found in sides.values())
    assert splits == split_pictures(pictures, "animal", 0.4, seed=1, anew=False)
    assert splits != split_pictures(pictures, "animal", 0.4, seed=2, anew=False)


@pytest.mark.parametrize("rule", ["animal", "side"])
def test_the_first_half_of_each_group_asks(rule: str) -> None:
    pictures = [one for one in herd() if one.identity in "012345"]
    train = [picture("t.jpg", "t", split="train")]
    splits = split_pictures([*pictures, *train], rule, 0.5, 1, False)[:-1]  # type: ignore[arg-type]
    groups = defaultdict(list)
    for one, split in zip(pictures, splits, strict=True):
        key = (one.identity, one.flank) if rule == "side" else one.identity
        groups[key].append(split)
    for found in groups.values():
        assert found == ["query"] * (len(found) // 2) + ["gallery"] * (len(found) - len(found) // 2)


def test_an_encounter_is_on_one_side() -> None:
    pictures = [*herd(), picture("t.jpg", "t", split="train")]
    splits = split_pictures(pictures, "encounter", 0.5, 1, False)
    sides = defaultdict(set)
    for one, split in zip(pictures, splits, strict=True):
        sides[one.identity, one.encounter].add(split)
    assert all(len(found) == 1 for found in sides.values())
    counts = count(pictures, splits)
    assert counts.identities == {"train": 1, "query": 7, "gallery": 10}
    assert counts.gallery_only == 3  # one encounter each


@pytest.mark.parametrize(
    ("pictures", "rule", "share", "sentence"),
    [
        ([picture("a.jpg", None)], "animal", 0.5, "names no animal"),
        ([picture("a.jpg", "a"), picture("b.jpg", "b")], "encounter", 0.5, "encounter. column"),
        ([picture("a.jpg", "a"), picture("b.jpg", "b")], "side", 0.5, "position. column"),
        ([picture("a.jpg", "a"), picture("b.jpg", "b")], "animal", 0.5, "no animal has two"),
        ([picture("a.jpg", "a"), picture("b.jpg", "b")], "animal", 0.1, "leaves none"),
        ([picture("a.jpg", "a"), picture("b.jpg", "b")], "animal", 1.5, "between 0 and 1"),
        (
            [picture("a.jpg", "a", split="train"), picture("b.jpg", "a", split="query")],
            "animal", 0.5, "--anew",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_divided_is_refused(
    pictures: list[Picture], rule: str, share: float, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        split_pictures(pictures, rule, share, 1, False)  # type: ignore[arg-type]


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr("sys.argv", ["fancl-split", *(str(word) for word in words)])
    with pytest.raises(SystemExit) as stop:
        cli_split.split()
    assert stop.value.code in (0, 1)


def test_the_written_table_is_read_from_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for animal in "abc":
        (tmp_path / "photos" / animal).mkdir(parents=True)
        for number in range(4):
            image = np.full((8, 8, 3), number, np.uint8)
            cv2.imwrite(str(tmp_path / "photos" / animal / f"{number}.png"), image)
    (tmp_path / "tables").mkdir()
    out = tmp_path / "tables" / "split.csv"
    run(monkeypatch, tmp_path / "photos", out, "--test-share", 0.34)
    assert "query: 2 pictures of 1 animals" in capsys.readouterr().out
    assert len(read_collection(out, split="train").pictures) == 8
    again = tmp_path / "again.csv"
    run(monkeypatch, out, again)  # its train animals stay
    first, second = (
        {one.path.resolve(): one.split for one in read_collection(table).pictures}
        for table in (out, again)
    )
    assert first == second
    run(monkeypatch, tmp_path / "photos", out)
    assert "is there already" in " ".join(capsys.readouterr().err.split())


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "rule", "queries", "gallery", "alone"),
    [
        ("lion", "side", 61, 85, 0),
        ("nyala", "animal", 355, 374, 0),
        ("nyala", "encounter", 339, 390, 4),
    ],
)
def test_counts_of_real_sets(
    shared: Path, name: str, rule: str, queries: int, gallery: int, alone: int
) -> None:
    pictures = read_collection(shared / "data" / name / "metadata.csv").pictures
    counts = count(pictures, split_pictures(pictures, rule, 0.5, 1, False))  # type: ignore[arg-type]
    assert (counts.pictures["query"], counts.pictures["gallery"]) == (queries, gallery)
    assert counts.gallery_only == alone
    animals = {"lion": (75, 19), "nyala": (179, 58)}[name]
    assert (counts.identities["train"], counts.identities["gallery"]) == animals


@pytest.mark.data
@pytest.mark.parametrize(("name", "length"), [("lion", 492), ("nyala", 1208 - 8)])
def test_an_epochs_sampler_is_as_long_as_in_the_released_program(
    shared: Path, name: str, length: int
) -> None:
    # NyalaData as published has eight pictures of one animal twice; here they are once.
    with (shared / "data" / name / "metadata.csv").open(newline="") as file:
        names = [row["identity"] for row in csv.DictReader(file) if row["split"] == "train"]
    counts = np.unique(names, return_counts=True)[1]
    assert int(4 * np.maximum(counts // 4, 1).sum()) == length
