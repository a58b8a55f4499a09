"""The report on a run: whole, self-contained, right about right and wrong, no empty plot."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import trainer.report
from edge.errors import InputError
from trainer import checkpoint
from trainer.checkpoint import load_encoder
from trainer.clip.settings import PlanSettings, clip_config
from trainer.clip.stages import ClipReport
from trainer.evaluation.retrieved import Retrieved
from trainer.report.markup import SECTIONS
from trainer.report.page import write_report
from trainer.report.record import read_record
from trainer.settings import Method
from trainer.supervised import SupervisedReport, default_config

from ..report_run import (
    FIVE_CLUSTERS,
    config_of,
    drawn_crops,
    epoch_row,
    many_animals,
    numbered_crops,
    plain_run,
    retrieved_from,
    table_of_letters,
    write_run,
)

# A line or histogram with at least one point: what lies in the axes, in the colour of data.
DRAWN_DATA = re.compile(
    r'<path d="M \d[^"]*" clip-path="[^"]+" style="[^"]*(#0072b2|#c04f00)', re.ASCII
)


class Page(HTMLParser):
    """What a page holds: its elements in order, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def charts(self) -> list[str]:
        """The SVG of each chart."""
        return re.findall(r'<figure class="chart">.*?</figure>', self.source, re.DOTALL)

    def section(self, anchor: str) -> str:
        found = re.search(rf'<section id="{anchor}">(.*?)</section>', self.source, re.DOTALL)
        assert found is not None
        return found[1]


def page_of(
    out: Path,
    label_N: NDArray[np.int64],
    num_epochs: int = 3,
    skipped: tuple[int, ...] = (),
    method: Method = "fancl",
    retrieved: Retrieved | None = None,
) -> Page:
    crops = numbered_crops(len(label_N))
    epochs = [
        epoch_row(number, label_N, skipped=number in skipped) for number in range(1, num_epochs + 1)
    ]
    if method == "cluster-contrast":
        epochs = [
            dataclasses.replace(one, cluster_loss=one.loss, consistency_loss=0.0) for one in epochs
        ]
    write_run(out, crops, label_N, epochs, config_of(method, len(crops), num_epochs))
    return Page(write_report(out, crops, retrieved))


def supervised_page(out: Path) -> Page:
    """A supervised run of two epochs: other columns, no clusters."""
    crops = numbered_crops(22)
    epochs = [
        SupervisedReport(
            epoch=number,
            seconds=1.0,
            learning_rate=1e-3,
            loss=4.0 / number,
            identity_loss=3.0 / number,
            triplet_loss=1.0 / number,
        )
        for number in (1, 2)
    ]
    write_run(out, crops, None, epochs, default_config(1, 22))
    return Page(write_report(out, crops, many_animals(12)))


def clip_page(out: Path) -> Page:
    """A run of two stages: each has figures that the other has not."""
    crops = numbered_crops(22)
    epochs = [clip_row(number) for number in (1, 2, 3, 4)]
    config = clip_config("indivaid", "clip-reid", "okapi", 1)
    write_run(
        out, crops, None, epochs, dataclasses.replace(config, schedule=PlanSettings(epochs=4))
    )
    return Page(write_report(out, crops, many_animals(12)))


def clip_row(epoch: int) -> ClipReport:
    stage = 1 if epoch < 3 else 2
    late = 1.0 / epoch if stage == 2 else None
    early = 0.2 * epoch if stage == 1 else None
    return ClipReport(
        epoch=epoch, stage=stage, seconds=1.0, learning_rate=1e-3, loss=5.0 / epoch,
        identity_loss=late, triplet_loss=late, text_loss=late, description_cosine=early,
        description_top1=early,
    )  # fmt: skip


KINDS: dict[str, Callable[[Path], Page]] = {
    "with labels": lambda out: page_of(out, FIVE_CLUSTERS, retrieved=many_animals(12)),
    "without labels": lambda out: page_of(out, FIVE_CLUSTERS),
    "a single cluster": lambda out: page_of(out, np.zeros(30, np.int64)),
    "no cluster": lambda out: page_of(out, np.full(30, -1), skipped=(3,)),
    "one epoch": lambda out: page_of(out, FIVE_CLUSTERS, num_epochs=1),
    "no epoch yet": lambda out: page_of(out, FIVE_CLUSTERS, num_epochs=0),
    "all epochs skipped": lambda out: page_of(out, np.zeros(30, np.int64), skipped=(1, 2, 3)),
    "cluster-contrast": lambda out: page_of(out, FIVE_CLUSTERS, method="cluster-contrast"),
    "supervised": supervised_page,
    "two stages": clip_page,
    "strangers only": lambda out: page_of(
        out, FIVE_CLUSTERS, retrieved=retrieved_from("AB", "CD", np.full((2, 2), 0.3))
    ),
    "a single animal": lambda out: page_of(
        out, FIVE_CLUSTERS, retrieved=retrieved_from("A", "AA", np.array([[0.9, 0.8]]))
    ),
    "a pair with itself": lambda out: page_of(
        out, FIVE_CLUSTERS, retrieved=retrieved_from("A", "A", np.array([[-np.inf]]))
    ),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Page]:
    """The page of a kind, made once."""
    root = tmp_path_factory.mktemp("reports")
    return cache(lambda kind: KINDS[kind](root / kind))


@pytest.mark.parametrize("kind", KINDS)
def test_every_section_shows_something_or_says_why_not(
    made: Callable[[str], Page], kind: str
) -> None:
    page = made(kind)
    for anchor in SECTIONS:
        body = page.section(anchor)
        assert "<img" in body or "<svg" in body or "<table" in body or 'class="missing"' in body
    for chart in page.charts():
        assert DRAWN_DATA.search(chart)
    assert not re.search(r"\bnan\b|\binf\b|None", page.words)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_asks_for_nothing_outside_itself(made: Callable[[str], Page], kind: str) -> None:
    page = made(kind)
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.all("img"))
    assert not page.all("script") + page.all("link") + page.all("iframe")
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert [one for one, times in Counter(ids).items() if times > 1] == []
    links = [value for _, one in page.elements for key, value in one.items() if "href" in key]
    links += [f"#{one}" for one in re.findall(r"url\(#([^)]+)\)", page.source)]
    assert {one[0] for one in links} == {"#"}
    assert {one[1:] for one in links} <= set(ids)
    assert "url(" not in page.source.replace("url(#", "")
    assert "@import" not in page.source


@pytest.mark.parametrize("kind", KINDS)
def test_every_picture_and_chart_is_described_in_words(
    made: Callable[[str], Page], kind: str
) -> None:
    page = made(kind)
    assert page.all("html")[0]["lang"] == "en"
    assert all(image["alt"].strip() for image in page.all("img"))
    for svg in page.all("svg"):
        assert svg.get("aria-hidden") == "true" or svg["aria-label"].strip()
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert all(lower <= upper + 1 for upper, lower in pairwise(levels))


def test_a_thousand_identities_and_clusters_stay_below_ten_megabytes(tmp_path: Path) -> None:
    label_N = np.arange(1000).repeat(3)
    page = page_of(tmp_path / "run", label_N, retrieved=many_animals(1000))
    assert len(page.source.encode()) < 10_000_000
    assert len(page.all("img")) < 350
    assert "1000 clusters" in page.words
    assert "1000 queries of 1000 animals" in page.words


def test_the_noise_is_shown_for_fancl_only(made: Callable[[str], Page]) -> None:
    assert made("without labels").section("noise").count("<img") == 4 * 6
    page = made("cluster-contrast")
    assert "<img" not in page.section("noise")
    assert "adds no noise" in page.section("noise")
    assert "FANA" not in page.section("trained").split("<details>")[0]


@pytest.mark.parametrize(
    "change",
    [
        {"fana": {"area": 0.0}},
        {"loss": dict.fromkeys(("noised", "fused", "consistency_cluster", "consistency_instance"))},
    ],
    ids=["no area", "no loss on it"],
)
def test_no_noise_is_shown_where_none_took_part(
    tmp_path: Path, change: dict[str, dict[str, float | None]]
) -> None:
    run = plain_run(tmp_path / "run")
    content = json.loads((run / "config.json").read_text())
    for group, values in change.items():
        content["settings"][group] |= values
    (run / "config.json").write_text(json.dumps(content))
    page = Page(write_report(run, numbered_crops(22), None))
    assert "was asked for no noise" in page.section("noise")
    assert "<img" not in page.section("noise")


def test_a_supervised_run_says_that_it_makes_no_clusters(made: Callable[[str], Page]) -> None:
    page = made("supervised")
    assert "makes no clusters" in page.section("clusters")
    assert "identity from 3 to 1.5, triplet from 1 to 0.5" in page.section("curves")
    assert 'class="trouble"' not in page.source
    facts = page.section("trained").split("<details>")[0]
    assert "Clustering" not in facts
    assert "16 groups x 4 crops" in facts


def test_both_stages_are_drawn_and_told(made: Callable[[str], Page]) -> None:
    page = made("two stages")
    assert "The loss went from 1.67 to 1.25" in page.words  # of the last stage
    assert "cosine from 20 to 40" in page.section("curves")
    assert "text from 0.333 to 0.25" in page.section("curves")
    assert "learns from names" in page.section("clusters")
    facts = page.section("trained").split("<details>")[0]
    assert "with the noun okapi; 120 epochs by supcon, merged by attention" in facts
    assert "16 identities x 4 crops" in facts


def test_the_table_tells_of_settings_that_are_not_fixed(tmp_path: Path) -> None:
    run = plain_run(tmp_path / "run")
    content = json.loads((run / "config.json").read_text())
    content["settings"]["clustering"]["eps"] = None
    (run / "config.json").write_text(json.dumps(content))
    page = Page(write_report(run, numbered_crops(22), None))
    assert "eps chosen each epoch" in page.section("trained")


KINDS["a table of letters"] = lambda out: page_of(
    out, FIVE_CLUSTERS, num_epochs=1, retrieved=table_of_letters()
)


def test_gallery_crops_are_framed_by_whose_they_are_the_most_similar_first(
    made: Callable[[str], Page],
) -> None:
    page = made("a table of letters")
    wrong, right = page.section("retrieval").split("The right animal first")
    rows = [re.findall(r' alt="([^"]+)"', row) for row in right.split('class="row"')[1:]]
    assert rows == [["query: A", "right: A", "wrong: B", "right: A", "wrong: C"]]
    rows = [re.findall(r' alt="([^"]+)"', row) for row in wrong.split('class="row"')[1:]]
    assert sorted(rows) == [
        ["query: A", "wrong: B", "wrong: C", "right: A", "right: A"],
        ["query: B", "wrong: A", "right: B", "wrong: A"],  # C must not be compared
    ]


def test_right_and_wrong_differ_by_a_sign_as_well_as_by_colour(made: Callable[[str], Page]) -> None:
    page = made("a table of letters")
    figures = re.findall(r'<figure class="crop (right|wrong)">(.*?)</figure>', page.source)
    assert len(figures) > 10
    for frame, inside in figures:
        assert (f'href="#{"tick" if frame == "right" else "cross"}"') in inside


def test_figures_leave_out_queries_whose_animal_is_not_in_the_gallery(
    made: Callable[[str], Page],
) -> None:
    page = made("a table of letters")
    assert "33 % of 3 queries find their own animal first" in page.words
    assert "1 query left out" in page.words


def test_without_labels_the_histogram_says_that_it_compares_clusters(
    made: Callable[[str], Page],
) -> None:
    section = made("without labels").section("similarity")
    assert "pseudo-labels, not known animals" in section
    assert "same cluster" in section
    assert "pseudo-labels" not in made("with labels").section("similarity")


HOSTILE = '<img src=x onerror="alert(1)">&\u202egpj.evil'


def test_names_are_escaped_wherever_they_appear(tmp_path: Path) -> None:
    crops = drawn_crops([f"{number}{HOSTILE}.jpg" for number in range(22)])
    crops = dataclasses.replace(crops, skipped=((HOSTILE, "truncated"),))
    config = config_of("fancl", 22, 1)
    epochs = [epoch_row(1, FIVE_CLUSTERS)]
    run = write_run(tmp_path / "<b>run", crops, FIVE_CLUSTERS, epochs, config)
    retrieved = table_of_letters()
    names_Q = np.array([one + HOSTILE for one in retrieved.query_identity_Q])
    names_G = np.array([one + HOSTILE for one in retrieved.gallery_identity_G])
    retrieved = dataclasses.replace(retrieved, query_identity_Q=names_Q, gallery_identity_G=names_G)
    page = Page(write_report(run, crops, retrieved))
    assert not [one for one in page.all("img") if "onerror" in one or one["src"] == "x"]
    assert not page.all("b") or all("run" not in one for one in page.all("b"))
    assert "\u202e" not in page.source
    assert "Training run <b>run" in page.words


def test_figures_per_epoch_are_drawn_where_there_are_any(
    made: Callable[[str], Page], tmp_path: Path
) -> None:
    assert "no epoch of this run was scored" in made("with labels").words
    run = plain_run(tmp_path / "run")
    head, *rows = (run / checkpoint.METRICS).read_text().split()
    scored = [f"{head},mAP,rank1,ari,reason"]
    for number, row in enumerate(rows):
        scored.append(f"{row}0.{number},0.{number}5,0.{number}9,,split")  # silhouette comes last
    (run / checkpoint.METRICS).write_text("\n".join(scored) + "\n")
    page = Page(write_report(run, numbered_crops(22), many_animals(12)))
    assert "mAP from 5 to 25, rank-1 from 9 to 29" in page.section("retrieval")
    assert "ARI from" not in page.section("retrieval")
    assert "silhouette from 0 to 0.2" in page.section("curves")


def test_the_loss_is_drawn_in_parts_where_it_has_parts(made: Callable[[str], Page]) -> None:
    parts = "total from 3 to 1, cluster from 4 to 1.33, consistency from -1 to -0.333"
    assert parts in made("without labels").section("curves")
    assert 'aria-label="Loss over 3 epochs: loss from 3 to 1"' in made("cluster-contrast").source


def test_a_single_kind_of_pairs_is_not_compared(made: Callable[[str], Page]) -> None:
    section = made("a single cluster").section("similarity")
    assert "All pairs are of one kind (same cluster)" in section
    assert "guessing" not in section


def test_an_epoch_that_stands_alone_is_seen(tmp_path: Path) -> None:
    page = page_of(tmp_path / "run", FIVE_CLUSTERS, num_epochs=30, skipped=(*range(2, 31),))
    assert re.search(r'<g clip-path="[^"]+">\s*<use [^>]*#0072b2', page.charts()[0])


def test_a_radius_that_changes_is_drawn_and_one_that_does_not_is_told(
    made: Callable[[str], Page], tmp_path: Path
) -> None:
    assert "eps was 0.5 in every epoch" in made("without labels").words
    run = plain_run(tmp_path / "run")
    lines = (run / checkpoint.METRICS).read_text().split()
    lines[-1] = lines[-1].replace(",0.5,,", ",0.45,,")
    (run / checkpoint.METRICS).write_text("\n".join(lines) + "\n")
    page = Page(write_report(run, numbered_crops(22), None))
    assert "eps from 0.5 to 0.45" in page.section("curves")
    assert "in every epoch" not in page.words


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("a single cluster", "it tells no two apart"),
        ("no cluster", "The last epoch was skipped"),
        ("all epochs skipped", "Nothing was trained"),
        ("no epoch yet", "No epoch of 1 has ended yet"),
    ],
)
def test_trouble_comes_first(made: Callable[[str], Page], kind: str, sentence: str) -> None:
    page = made(kind)
    findings = re.findall(r'<li class="(trouble|plain)">(.*)</li>', page.source)
    assert findings[0][0] == "trouble"
    assert sentence in " ".join(words for kind, words in findings if kind == "trouble")


def test_a_healthy_run_has_no_trouble(made: Callable[[str], Page]) -> None:
    assert 'class="trouble"' not in made("with labels").source


def test_other_crops_than_the_trained_ones_are_refused_and_the_old_report_stays(
    tmp_path: Path,
) -> None:
    run = plain_run(tmp_path / "run")
    (run / "report.html").write_text("the old one")
    others = numbered_crops(22)
    others = dataclasses.replace(others, facts=others.facts[::-1])
    with pytest.raises(InputError, match="the pictures of the training"):
        write_report(run, others, None)
    with pytest.raises(InputError, match="trained on 22 crops, these are 21"):
        write_report(run, numbered_crops(21), None)
    assert (run / "report.html").read_text() == "the old one"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("config.json", "{}", "does not describe a training run"),
        (
            "config.json",
            '{"num_crops": 22, "settings": {"method": "fancl", "schedule": {"epochs": 3}}}',
            "written by another release",
        ),
        ("metrics.csv", "epoch,loss\n1\n", "line 2 has 1 cells, not 2"),
        ("metrics.csv", "epoch,loss\n1,high\n", "column loss of metrics.csv"),
        ("clusters.csv", "path,sha256\na,b\n", "has no column pseudo_label"),
    ],
)
def test_a_run_directory_that_is_broken_is_told(
    tmp_path: Path, name: str, content: str, sentence: str
) -> None:
    run = plain_run(tmp_path / "run")
    (run / name).write_text(content)
    with pytest.raises(InputError, match=sentence):
        write_report(run, numbered_crops(22), None)


def test_the_report_of_a_real_run_reads_what_training_wrote(trained: Path, world: Path) -> None:
    from edge.detection.boxes_file import BoxesFile
    from edge.pictures import read_collection
    from trainer.data import load_crops

    spec = load_encoder(trained).facts.input
    boxes = BoxesFile(world / "train-boxes.json")
    crops = load_crops(read_collection(world / "train"), spec, boxes)
    record = read_record(trained, crops)
    assert record.clusters is not None
    assert len(record.clusters.label_N) == len(crops)
    page = Page(write_report(trained, crops, None))
    assert f"{len(crops)} crops from" in page.words
    (trained / "report.html").unlink()


def test_matplotlib_is_loaded_only_when_a_chart_is_drawn() -> None:
    folder = Path(trainer.report.__file__).parent
    uses, at_the_top = set(), set()
    for path in folder.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(imports_matplotlib(node) for node in ast.walk(tree)):
            uses.add(path.name)
        if any(imports_matplotlib(node) for node in tree.body):
            at_the_top.add(path.name)
    assert uses == {"charts.py"}
    assert at_the_top == set()


def imports_matplotlib(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return any(one.name.startswith("matplotlib") for one in node.names)
    return isinstance(node, ast.ImportFrom) and (node.module or "").startswith("matplotlib")
