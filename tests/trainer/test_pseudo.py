"""Clusters against animals: the figures on letters, and which crop is whose."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.clusters import read_clusters
from edge.errors import InputError
from trainer.evaluation.pseudo import agreement, score_pseudo_labels

from ..tiny_run import Quiet


def slow_ari(labels: list[int], identities: list[str]) -> float:
    """Adjusted Rand index by counting pairs of crops."""
    pairs = list(itertools.combinations(range(len(labels)), 2))
    together = [labels[i] == labels[j] for i, j in pairs]
    same = [identities[i] == identities[j] for i, j in pairs]
    both = sum(a and b for a, b in zip(together, same, strict=True))
    expected = sum(together) * sum(same) / len(pairs)
    return (both - expected) / ((sum(together) + sum(same)) / 2 - expected)


def test_outliers_are_clusters_of_one_and_told_apart() -> None:
    identities = list("AAABBBCCDD")
    labels = [0, 0, 1, 1, 1, 2, 2, -1, -1, 3]
    figures = agreement(np.array(labels), np.array(identities), num_unmatched=4)
    assert figures.ari == pytest.approx(slow_ari([0, 0, 1, 1, 1, 2, 2, 8, 9, 3], identities))
    assert figures.ari_clustered == pytest.approx(
        slow_ari([0, 0, 1, 1, 1, 2, 2, 3], list("AAABBBCD"))
    )
    assert figures.purity == pytest.approx((2 + 2 + 1 + 1) / 8)
    assert (figures.num_clusters, figures.num_identities) == (4, 4)
    assert figures.outlier_share == pytest.approx(0.2)
    assert figures.largest_share == pytest.approx(0.3)
    assert (figures.num_crops, figures.num_unmatched) == (10, 4)


def test_clusters_that_are_the_animals_agree_wholly() -> None:
    figures = agreement(np.array([4, 4, 7, 7]), np.array(list("AABB")), num_unmatched=0)
    assert (figures.ari, figures.ari_clustered, figures.purity) == (1.0, 1.0, 1.0)


def test_nothing_but_outliers_has_no_clusters_to_judge() -> None:
    figures = agreement(np.array([-1, -1, -1]), np.array(list("AAB")), num_unmatched=0)
    assert (figures.ari_clustered, figures.purity, figures.num_clusters) == (None, None, 0)
    assert (figures.ari, figures.outlier_share, figures.largest_share) == (0.0, 1.0, 0.0)


@pytest.fixture
def truth(world: Path, tmp_path: Path) -> Path:
    """The drawn world's train pictures as a table with their animals, in copies of the files."""
    with (world / "truth.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == "train" and row["identity"]]
    (tmp_path / "data").mkdir()
    table = tmp_path / "data" / "metadata.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["identity", "path", "split"])
        for number, row in enumerate(rows):
            shutil.copy(world / "train" / Path(row["path"]), tmp_path / "data" / f"{number}.jpg")
            writer.writerow([row["identity"], f"{number}.jpg", "train"])
    return table


def test_crops_are_found_by_their_pictures_wherever_these_lie(
    world: Path, trained: Path, truth: Path
) -> None:
    figures = score_pseudo_labels(trained, truth, None, Quiet())
    with (world / "truth.csv").open(newline="", encoding="utf-8") as file:
        identity_of = {row["path"]: row["identity"] for row in csv.DictReader(file)}
    rows = read_clusters(trained / "clusters.csv")
    expected = agreement(
        np.array([row.pseudo_label for row in rows]),
        np.array([identity_of[row.name] for row in rows]),
        num_unmatched=0,
    )
    assert figures == expected
    assert figures.num_crops == len(rows) > 20


def test_crops_that_the_table_does_not_name_are_counted(trained: Path, truth: Path) -> None:
    lines = truth.read_text(encoding="utf-8").splitlines(keepends=True)
    truth.write_text("".join(lines[:-3]), encoding="utf-8")
    figures = score_pseudo_labels(trained, truth, None, Quiet())
    assert figures.num_unmatched == 3


def test_two_animals_in_one_picture_are_told_apart_by_their_boxes(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps({"data": str(tmp_path)}))
    names = ["a.png", "b.png", "c.png"]
    greys = [np.full((20, 40, 3), grey, np.uint8) for grey in (0, 99, 200)]
    pictures = [cv2.imencode(".png", grey)[1] for grey in greys]
    for name, encoded in zip(names, pictures, strict=True):
        (tmp_path / name).write_bytes(encoded.tobytes())
    sha = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in names]
    (tmp_path / "metadata.csv").write_text(
        "identity,path,bbox\n"
        'A,a.png,"[0, 0, 10, 20]"\n'
        'B,a.png,"[20, 0, 20, 20]"\n'
        'B,b.png,"[0, 0, 10, 20]"\n'
        'A,b.png,"[20, 0, 20, 20]"\n'
        'A,c.png,"[20, 0, 20, 20]"\n'
    )
    (tmp_path / "run" / "clusters.csv").write_text(
        "path,sha256,pseudo_label,similarity_to_centre,burst,x,y,width,height\n"
        f"a.png,{sha[0]},1,0.9,0,0.5,0,0.5,1\n"  # B
        f"a.png,{sha[0]},0,0.9,0,0,0,0.25,1\n"  # A
        f"b.png,{sha[1]},1,0.9,1,0,0,0.25,1\n"  # B
        f"b.png,{sha[1]},0,0.9,1,0.5,0,0.5,1\n"  # A
        f"c.png,{sha[2]},0,0.9,2,0.5,0,0.5,1\n"  # A
        f"c.png,{sha[2]},0,0.9,2,0,0,0.25,1\n"  # nobody says who
    )
    figures = score_pseudo_labels(tmp_path / "run", tmp_path, None, Quiet())
    assert (figures.ari, figures.num_crops, figures.num_unmatched) == (1.0, 5, 1)


def test_other_pictures_and_sources_without_clusters_are_refused(
    world: Path, trained: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"names no animal of the .* crops"):
        score_pseudo_labels(trained, world / "gallery", None, Quiet())
    with pytest.raises(InputError, match="give the folder that fancl-train wrote"):
        score_pseudo_labels(tmp_path, world / "gallery", None, Quiet())
