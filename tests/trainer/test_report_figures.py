"""What the report computes: noised pictures, confused pairs, histograms, sheets, words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trainer.checkpoint import load_encoder
from trainer.fana import Fana
from trainer.report.confusion import confused_pairs
from trainer.report.markup import percent, short
from trainer.report.noise import noise_views
from trainer.report.record import Clusters
from trainer.report.sheets import chosen_clusters, members_shown
from trainer.report.similarity import count_pairs
from trainer.settings import FanaSettings

from ..report_run import HEIGHT, WIDTH, many_animals, numbered_crops, plain_run, table_of_letters

NOISE = FanaSettings(
    area=0.1, layer="conv", reduction="mean", mode="pixels", fill="black", density=1.0,
    refresh="epoch",
)  # fmt: skip


def test_the_noised_picture_is_black_in_the_region_and_the_picture_elsewhere(
    tmp_path: Path,
) -> None:
    crops = numbered_crops(22)
    encoder = load_encoder(plain_run(tmp_path / "run")).encoder
    images_NHWC = crops.images_NHWC[:3]
    views = noise_views(encoder, Fana(encoder, NOISE, seed=0), images_NHWC)
    for view, image_HWC in zip(views, images_NHWC, strict=True):
        region_HW = (view.region_HWC == (255, 170, 0)).all(axis=2)
        assert region_HW.sum() == round(0.1 * HEIGHT * WIDTH)
        assert (view.noised_HWC[region_HW] == 0).all()
        assert (view.noised_HWC[~region_HW] == image_HWC[~region_HW]).all()
        # The heat map is brightest where the region is.
        heat_HW = view.activation_HWC.sum(axis=2)
        assert heat_HW[region_HW].min() >= heat_HW[~region_HW].max() - 12
    assert all(
        (view.picture_HWC == one).all() for view, one in zip(views, images_NHWC, strict=True)
    )


def test_pairs_are_ordered_by_how_often_then_how_closely_they_are_confused() -> None:
    pairs = confused_pairs(table_of_letters())
    assert [(pair.first, pair.second, pair.num_confused) for pair in pairs] == [("A", "B", 2)]
    margins = [(one.query, one.own, one.other, round(one.margin, 4)) for one in pairs[0].contests]
    # The first query was not confused, but B came closest to it.
    assert margins == [(1, 1, 2, -0.3), (2, 2, 0, -0.25), (0, 0, 2, 0.1)]


def test_pairs_equal_a_slow_search_over_all_of_them() -> None:
    retrieved = many_animals(30, seed=4)
    worst: dict[tuple[str, str], list[float]] = {}
    for query, own in enumerate(retrieved.query_identity_Q.tolist()):
        best: dict[str, float] = {}
        for row, identity in enumerate(retrieved.gallery_identity_G.tolist()):
            best[identity] = max(best.get(identity, -9), float(retrieved.similarity_QG[query, row]))
        mine = best.pop(own)
        rival = max(best, key=lambda one: best[one])
        pair = (own, rival) if own < rival else (rival, own)
        worst.setdefault(pair, []).append(mine - best[rival])
    expected = sorted(worst, key=lambda pair: (-sum(m < 0 for m in worst[pair]), min(worst[pair])))
    assert any(min(margins) < 0 for margins in worst.values())
    found = confused_pairs(retrieved)
    assert [(pair.first, pair.second) for pair in found] == expected
    assert [len(pair.contests) for pair in found] == [len(worst[pair]) for pair in expected]


def test_pairs_are_counted_by_kind_and_in_order_as_a_slow_loop_does() -> None:
    rng = np.random.default_rng(3)
    similarity_QG = rng.uniform(-1, 1, (40, 50)).astype(np.float32)
    similarity_QG[rng.random((40, 50)) < 0.1] = -np.inf
    query_Q, gallery_G = rng.integers(0, 4, 40), rng.integers(0, 4, 50)
    similarity_QG[query_Q[:, None] == gallery_G[None, :]] += 0.0005
    same, different = [], []
    for query in range(40):
        for row in range(50):
            if np.isfinite(similarity_QG[query, row]):
                kind = same if query_Q[query] == gallery_G[row] else different
                kind.append(similarity_QG[query, row])
    counts = count_pairs(similarity_QG, query_Q, gallery_G)
    assert (counts.same_F.sum(), counts.different_F.sum()) == (len(same), len(different))
    in_order = np.mean([[one > other for other in different] for one in same])
    assert counts.share_in_order == pytest.approx(in_order, abs=1e-3)
    edges = np.linspace(-1, 1, 2001)
    assert (counts.same_F == np.histogram(np.array(same, np.float64), edges)[0]).all()


def test_pairs_that_are_all_alike_are_in_order_half_the_time() -> None:
    alike = np.full((4, 4), 0.5, np.float32)
    assert count_pairs(alike, np.arange(4), np.arange(4)).share_in_order == 0.5


def test_sheets_show_all_of_a_few_clusters_and_a_choice_of_many() -> None:
    few = chosen_clusters(np.array([3, 9, 5]))
    assert [(heading, labels.tolist()) for heading, labels in few] == [("All clusters", [1, 2, 0])]
    sizes = np.random.default_rng(0).permutation(np.arange(10, 210))
    shown = [label for _, labels in chosen_clusters(sizes) for label in labels]
    assert len(set(shown)) == len(shown) == 17
    assert (np.diff(sizes[shown]) < 0).all()
    assert sizes[shown[0]] == 209
    assert sizes[shown[-1]] == 10
    assert abs(sizes[shown[9]] - np.median(sizes)) <= 2


def test_a_sheet_goes_from_the_most_to_the_least_similar() -> None:
    similarity_N = np.random.default_rng(0).permutation(np.linspace(0.1, 0.9, 60))
    clusters = Clusters(label_N=np.arange(60) % 2, similarity_N=similarity_N)
    shown = members_shown(clusters, 1)
    members = similarity_N[1::2]
    assert (shown % 2 == 1).all()
    assert (np.diff(similarity_N[shown]) < 0).all()
    assert similarity_N[shown[0]] == members.max()
    assert similarity_N[shown[-1]] == members.min()


def test_a_long_name_loses_its_middle() -> None:
    assert short("x" * 40) == "x" * 40
    assert short("a" * 300 + "b" * 300) == "a" * 19 + "…" + "b" * 20


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0 %"), (0.0001, "< 0.1 %"), (0.012, "1.2 %"), (0.5, "50 %"), (0.997, "99.7 %"),
     (0.99991, "> 99.9 %"), (1, "100 %")],
)  # fmt: skip
def test_a_share_never_looks_like_nothing_or_all_unless_it_is(share: float, words: str) -> None:
    assert percent(share) == words
