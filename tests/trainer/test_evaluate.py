"""fancl-eval on drawn galleries: figures, protocols, controls, per-query rows."""

from __future__ import annotations

import csv
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from trainer import cli_eval
from trainer.backbone import load_backbone
from trainer.checkpoint import load_encoder
from trainer.encoder import Encoder
from trainer.evaluation.candidate import Candidate, embed_flipped
from trainer.evaluation.evaluate import EvalRequest, evaluate_source, score_encoder
from trainer.evaluation.outcome import Outcome
from trainer.evaluation.trial import load_trial, new_trial

from ..labelled import crops_of, fact, rules
from ..tiny_run import Quiet


def evaluate(*words: object) -> None:
    sys.argv = ["fancl-eval", *(str(word) for word in words)]
    with pytest.raises(SystemExit) as stop:
        cli_eval.evaluate()
    assert stop.value.code == 0


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    sys.argv = ["fancl-eval", *(str(word) for word in words)]
    with pytest.raises(SystemExit) as stop:
        cli_eval.evaluate()
    assert stop.value.code == 1
    return " ".join(capsys.readouterr().err.split())


def request_for(source: Path, data: Path) -> EvalRequest:
    return EvalRequest(
        source=str(source),
        data=data,
        boxes=None,
        weights=None,
        size=None,
        rules=rules(),
        controls=False,
        flip=False,
        rerank=False,
        branches=False,
        open_set_share=None,
        open_set_seeds=(0,),
        pseudo_labels=False,
        device=torch.device("cpu"),
    )


Change = Callable[[int, dict[str, str]], object]


@pytest.fixture
def table(world: Path, tmp_path: Path) -> Callable[[Change], Path]:
    """The drawn gallery as a table elsewhere, each row changed."""

    def write(change: Change) -> Path:
        source = world / "gallery"
        with (source / "metadata.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for index, row in enumerate(rows):
            row["path"] = str(source / row["path"])
            change(index, row)
        with (tmp_path / "metadata.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return tmp_path / "metadata.csv"

    return write


def in_three(index: int, row: dict[str, str]) -> None:
    row["split"] = ("query", "gallery", "train")[index % 3]


def test_json_and_per_query_agree(
    trained: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "queries.csv"
    evaluate(trained, world / "gallery", "--json", "--per-query", table)
    content = json.loads(capsys.readouterr().out)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert content["queries"] == len(rows)
    right = sum(row["identity"] == row["best_identity"] for row in rows)
    assert content["rank1"] == pytest.approx(right / len(rows))
    assert 0 < content["mAP"] <= 1
    assert set(content["controls"]) == {"random weights"}
    for row in rows:
        assert row["runner_up_identity"] != row["best_identity"]
        assert float(row["runner_up_similarity"]) <= float(row["best_similarity"])


def test_query_and_gallery_rows_of_a_table_are_used(
    trained: Path, table: Callable[[Change], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = table(in_three)
    with data.open(newline="") as file:
        splits = [row["split"] for row in csv.DictReader(file)]
    evaluate(trained, data, "--json", "--no-controls")
    content = json.loads(capsys.readouterr().out)
    assert content["queries"] + content["skipped"] == splits.count("query")
    assert content["gallery"] == splits.count("gallery")
    assert "gallery of" in content["protocol"]
    assert content["controls"] == {}


def test_frames_of_one_encounter_are_too_easy(
    trained: Path, table: Callable[[Change], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = table(lambda index, row: row.update(encounter=f"{row['identity']} {index % 2}"))
    found = {}
    for flag in ("--exclude-encounter", "--no-exclude-encounter"):
        evaluate(trained, data, "--json", "--no-controls", flag)
        found[flag] = json.loads(capsys.readouterr().out)
    strict, lenient = found.values()
    assert strict["encounter_pairs"] == lenient["encounter_pairs"] > 0
    assert strict["encounter_pairs_excluded"] and not lenient["encounter_pairs_excluded"]
    assert strict["mAP"] < lenient["mAP"]


def test_protocols_divide_all_but_train_rows(
    trained: Path, table: Callable[[Change], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    def change(index: int, row: dict[str, str]) -> None:
        in_three(index, row)
        row["encounter"] = f"{index % 2}"
        row["date"] = f"2026-05-0{1 + index % 2} 06:30:00"

    data = table(change)
    with data.open(newline="") as file:
        num_others = sum(row["split"] != "train" for row in csv.DictReader(file))
    for protocol in ("time-aware", "encounter-disjoint"):
        evaluate(trained, data, "--json", "--no-controls", "--protocol", protocol)
        content = json.loads(capsys.readouterr().out)
        assert content["protocol"].startswith(protocol)
        assert content["queries"] + content["skipped"] + content["gallery"] == num_others
        assert content["encounter_pairs"] == 0


def test_the_text_is_a_table_with_a_row_for_each_way_to_search(
    trained: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(trained, world / "gallery", "--rerank", "--flip")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["mAP", "mINP", "rank-1", "rank-5", "rank-10", "rank-20"]
    names = [str(trained), "with re-ranking", "with flip", "with flip, re-ranking"]
    assert [
        line.strip()[: len(name)] for name, line in zip(names, lines[1:5], strict=True)
    ] == names
    assert lines[5].startswith("random weights")
    assert {len(line) for line in lines[:6]} == {len(lines[0])}
    assert lines[6].startswith("in %; ")
    assert "queries, each crop against those of all other pictures" in lines[6]


def test_the_other_branches_of_a_run_are_rows_for_study(
    trained: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(trained, world / "gallery", "--branches")
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:5]]
    assert [row[:2] for row in rows[1:]] == [
        ["with", name] for name in ("clean", "noised", "fused")
    ]
    assert rows[1][2:] == rows[0][1:]  # nothing of the start was kept in this run
    assert rows[2][2:] != rows[1][2:]
    other = tmp_path / "encoder.safetensors"
    other.write_bytes((trained / "encoder.safetensors").read_bytes())
    assert "is no run of fancl-train" in refused(capsys, other, world / "gallery", "--branches")


def test_the_open_set_names_its_rule_and_its_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for animal in range(14):
        for number in range(3):
            shade = np.full((48, 48, 3), (animal * 18, 255 - animal * 18, 60 * number), np.uint8)
            shade[animal * 3 : animal * 3 + 6] = 255
            (tmp_path / "photos" / f"animal {animal}").mkdir(parents=True, exist_ok=True)
            path = tmp_path / "photos" / f"animal {animal}" / f"{number}.png"
            cv2.imwrite(str(path), shade)
    words = ("timm:small-cnn", tmp_path / "photos", "--weights", "none", "--size", "32x48")
    evaluate(*words, "--open-set", 0.2)
    said = capsys.readouterr().out
    assert said.splitlines()[0].endswith("BAKS        BAUS  geom. mean       AUROC")
    assert "3 animals held out of the gallery" in said
    assert "33 queries of known and 9 of unknown animals, mean±sd over seeds 0, 1, 2, 3, 4" in said
    assert "threshold fitted on the gallery alone" in said
    evaluate(*words, "--open-set", 0.2, "--seed", 4, "--json")
    content = json.loads(capsys.readouterr().out)["open_set"]
    assert content["seeds"] == [4]
    assert 0 <= content["geometric_mean"]["mean"] <= 1


def test_pseudo_labels_are_told_beside(
    trained: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (world / "truth.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == "train" and row["identity"]]
    data = tmp_path / "metadata.csv"
    with data.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["identity", "path", "split"])
        writer.writerows([row["identity"], world / "train" / row["path"], "train"] for row in rows)
    evaluate(trained, data, "--pseudo-labels", "--no-controls")
    said = capsys.readouterr().out
    assert "all of the train split" in said
    assert "pseudo-labels: ARI " in said
    assert "as clusters of one" in said


def test_what_was_retrieved_comes_with_its_pictures(trained: Path, world: Path) -> None:
    outcome: Outcome = evaluate_source(request_for(trained, world / "gallery"), Quiet())
    found = outcome.retrieved
    spec = load_encoder(trained).facts.input
    num = len(found.query_identity_Q)
    assert found.query_images_QHWC.shape == (num, spec.height, spec.width, 3)
    assert found.similarity_QG.shape == (num, len(found.gallery_identity_G))
    assert np.isneginf(np.diag(found.similarity_QG)).all()
    nearest_Q = found.gallery_identity_G[found.similarity_QG.argmax(axis=1)]
    assert list(nearest_Q) == [one.best_identity for one in outcome.matches]


def test_an_encoder_in_memory_scores_as_its_checkpoint_does(trained: Path, world: Path) -> None:
    stored = load_encoder(trained)
    trial = load_trial(world / "gallery", stored.facts.input, None, rules(), Quiet())
    found = score_encoder(stored.encoder, trial, torch.device("cpu"))
    outcome = evaluate_source(request_for(trained, world / "gallery"), Quiet())
    assert dataclasses.astuple(found) == pytest.approx(dataclasses.astuple(outcome.source.figures))


def test_a_mirror_image_has_the_embedding_of_its_picture_where_both_are_averaged() -> None:
    loaded = load_backbone("small-cnn", "none", 32, 48)
    encoder = Encoder(loaded.spec, loaded.module).eval()

    def embed(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
            return encoder(pixels).numpy()

    candidate = Candidate(name="x", spec=None, embed=embed)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (3, 32, 48, 3), dtype=np.uint8)
    mirrored = np.ascontiguousarray(images[:, :, ::-1])
    assert not np.allclose(embed(images), embed(mirrored), atol=1e-4)
    both = embed_flipped(candidate, images)
    np.testing.assert_allclose(both, embed_flipped(candidate, mirrored), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), 1.0, atol=1e-5)
    sums = embed(images) + embed(mirrored)
    expected = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    np.testing.assert_allclose(both, expected, atol=1e-5)


def test_pictures_are_told_apart_by_side() -> None:
    """A trial whose rows are not in order still gives each identity its own picture."""
    from trainer.evaluation.retrieved import retrieved

    facts = [fact("A", "a", split="gallery"), fact("A", "b", split="query")]
    facts += [fact("B", "c", split="gallery")]
    trial = new_trial(crops_of(facts), rules())
    found = retrieved(trial, trial.similarity(np.eye(3, dtype=np.float32)))
    assert found.query_images_QHWC[:, 0, 0, 0].tolist() == [1]
    assert found.gallery_images_GHWC[:, 0, 0, 0].tolist() == [0, 2]
    assert found.gallery_identity_G.tolist() == ["A", "B"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--size", "64x96"), "--size is for published encoders"),
        (("--weights", "w.safetensors"), "--weights is for published encoders"),
        (("--size", "big"), "write height x width in pixels"),
        (("--protocol", "time-aware", "--open-set", "0.3"), "leaves"),
    ],
)
def test_flags_that_do_not_fit_are_refused(
    words: tuple[str, ...],
    sentence: str,
    trained: Path,
    world: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert sentence in refused(capsys, trained, world / "gallery", *words)


def test_labels_are_looked_for_before_an_encoder_is_downloaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 40, 3), np.uint8))
    said = refused(capsys, "timm:hf-hub:someone/something", tmp_path)
    assert "no labels" in said
