"""Searching a gallery against comparing with all of it, one pair at a time."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from edge.errors import StateError
from edge.gallery import search, search_index, search_list
from edge.gallery.search import Search
from edge.gallery.search_list import widen

DIM = 48
WANTED = 6
SIDES = np.array([-1, 0, 1])


def unit(rng, *shape):
    values = rng.standard_normal(shape).astype(np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def herd(rng, num_individuals, num_exemplars, spread=0.5):
    """Embeddings as the database has them, their individuals and sides, in random order."""
    individual_M = np.concatenate(
        [np.arange(num_individuals), rng.integers(0, num_individuals, num_exemplars)]
    )[:num_exemplars]
    centres = unit(rng, num_individuals, DIM)
    emb_MD = centres[individual_M] + spread * unit(rng, num_exemplars, DIM)
    emb_MD /= np.linalg.norm(emb_MD, axis=1, keepdims=True)
    return emb_MD.astype(np.float16), individual_M, rng.choice(SIDES, num_exemplars)


def slow_similarities(emb_MD, individual_M, side_M, emb_D, side):
    """Float32, each row alone; best exemplar of a fitting side, -inf where none fits."""
    best_I = np.full(individual_M.max() + 1, -np.inf, np.float32)
    for row, individual, other in zip(emb_MD, individual_M, side_M, strict=True):
        if side * other != -1:
            wide = row.astype(np.float32)
            wide /= np.linalg.norm(wide)
            one = np.float32(sum(np.float64(wide) * np.float64(emb_D)))
            best_I[individual] = max(best_I[individual], one)
    return best_I


def as_tables(found):
    return found.individual_C.tolist(), found.similarity_NC.tobytes()


@pytest.mark.parametrize(("num_individuals", "num_exemplars"), [(1, 3), (4, 40), (90, 700)])
def test_the_ranking_is_that_of_a_slow_comparison_in_float32(num_individuals, num_exemplars):
    rng = np.random.default_rng(num_individuals)
    emb_MD, individual_M, side_M = herd(rng, num_individuals, num_exemplars)
    built = Search(list(emb_MD), individual_M, side_M, DIM)
    for emb_D, side in zip(unit(rng, 12, DIM), np.tile(SIDES, 4), strict=True):
        slow_I = slow_similarities(emb_MD, individual_M, side_M, emb_D, side)
        found = built.nearest(emb_D[None], np.array([side]), WANTED)
        order = np.argsort(-slow_I, kind="stable")[:WANTED]
        order = order[np.isfinite(slow_I[order])]
        fast = np.argsort(-found.similarity_NC[0], kind="stable")
        assert found.individual_C[fast].tolist() == order.tolist()
        np.testing.assert_allclose(found.similarity_NC[0][fast], slow_I[order], rtol=0, atol=1e-7)


def test_an_answer_is_the_same_bits_alone_in_any_company_and_with_any_threads():
    rng = np.random.default_rng(5)
    emb_MD, individual_M, side_M = herd(rng, 120, 1500)
    # Copies and near copies: what float32 products put in either order.
    emb_MD[700:800] = emb_MD[600:700]
    emb_MD[800:900] = np.nextafter(emb_MD[600:700], np.float16(1))
    built = Search(list(emb_MD), individual_M, side_M, DIM)
    crops, sides = unit(rng, 40, DIM), rng.choice(SIDES, 40)
    together = built.nearest(crops, sides, WANTED)
    for number in (0, 7, 39):
        alone = built.nearest(crops[[number]], sides[[number]], WANTED)
        few = built.nearest(crops[: number + 3], sides[: number + 3], WANTED)
        for other, row in ((together, number), (few, number)):
            columns = np.searchsorted(other.individual_C, alone.individual_C)
            assert (other.individual_C[columns] == alone.individual_C).all()
            assert (other.similarity_NC[row, columns] == alone.similarity_NC[0]).all()
    assert len(crops) >= search._MANY_CROPS > 3  # both ways were taken
    one_by_one = [built.nearest(crops[[i]], sides[[i]], WANTED).individual_C for i in range(40)]
    assert together.individual_C.tolist() == np.unique(np.concatenate(one_by_one)).tolist()
    before = as_tables(built.nearest(crops[:3], sides[:3], WANTED))
    faiss.omp_set_num_threads(2)
    try:
        assert as_tables(built.nearest(crops[:3], sides[:3], WANTED)) == before
    finally:
        faiss.omp_set_num_threads(1)


@pytest.mark.parametrize("num_crops", [1, 20])
def test_one_individual_with_thousands_of_exemplars_hides_nobody(num_crops):
    rng = np.random.default_rng(6)
    emb_MD, individual_M, side_M = herd(rng, 30, 200)
    crowd = unit(rng, DIM)
    close = crowd + 0.01 * unit(rng, 5000, DIM)
    emb_MD = np.concatenate([emb_MD, close.astype(np.float16)])
    individual_M = np.concatenate([individual_M, np.full(5000, 30)])
    side_M = np.zeros(len(emb_MD), np.int64)
    crops = np.repeat(crowd[None], num_crops, axis=0)
    found = Search(list(emb_MD), individual_M, side_M, DIM).nearest(
        crops, np.zeros(num_crops, np.int64), WANTED
    )
    slow_I = slow_similarities(emb_MD, individual_M, side_M, crowd, 0)
    nearest = found.individual_C[np.argsort(-found.similarity_NC[0], kind="stable")]
    assert nearest.tolist() == np.argsort(-slow_I, kind="stable")[:WANTED].tolist()


def test_animals_seen_from_the_other_side_only_take_nobodys_place():
    rng = np.random.default_rng(7)
    crop = unit(rng, DIM)
    wrong_side = crop + 0.05 * unit(rng, 300, DIM)  # 50 animals, all nearer than those that fit
    right_side = crop + 0.9 * unit(rng, 60, DIM)
    emb_MD = np.concatenate([wrong_side, right_side]).astype(np.float16)
    individual_M = np.concatenate([np.arange(300) % 50, 50 + np.arange(60) % 10])
    side_M = np.concatenate([np.full(300, -1), np.full(60, 1)])
    found = Search(list(emb_MD), individual_M, side_M, DIM).nearest(
        crop[None], np.array([1]), WANTED
    )
    slow_I = slow_similarities(emb_MD, individual_M, side_M, crop, 1)
    assert found.individual_C.tolist() == sorted(np.argsort(-slow_I, kind="stable")[:WANTED])


def test_lengths_of_the_stored_embeddings_do_not_matter():
    rng = np.random.default_rng(8)
    emb_MD, individual_M, side_M = herd(rng, 40, 400)
    stretched_MD = (emb_MD * rng.choice([0.25, 1, 8], (400, 1))).astype(np.float16)
    crops, sides = unit(rng, 15, DIM), rng.choice(SIDES, 15)
    expected = Search(list(emb_MD), individual_M, side_M, DIM).nearest(crops, sides, WANTED)
    for end in (1, 15):
        found = Search(list(stretched_MD), individual_M, side_M, DIM).nearest(
            crops[:end], sides[:end], WANTED
        )
        same = Search(list(emb_MD), individual_M, side_M, DIM).nearest(
            crops[:end], sides[:end], WANTED
        )
        assert found.individual_C.tolist() == same.individual_C.tolist()
        np.testing.assert_allclose(found.similarity_NC, same.similarity_NC, rtol=0, atol=1e-6)
    assert len(expected.individual_C) > WANTED


def test_every_finite_float16_is_widened_as_numpy_does():
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    assert (widen(finite) == finite.astype(np.float32)).all()
    assert (np.signbit(widen(finite)) == np.signbit(finite)).all()


# --- the index of a large gallery


def build(embeddings, index=None):
    return search_index.update(index, list(embeddings), DIM, 1, lambda number: None)


@pytest.fixture(scope="module")
def large():
    """2,000 exemplars of 200 animals and the index of all but the last 100."""
    rng = np.random.default_rng(9)
    emb_MD, individual_M, side_M = herd(rng, 200, 2000, spread=0.8)
    return emb_MD, individual_M, side_M, build(emb_MD[:1900]).index


def test_an_index_and_what_it_does_not_know_yet_find_what_comparing_with_all_finds(
    large, monkeypatch
):
    monkeypatch.setattr(search_list, "_MIN_PROBED", 1000)  # every cell
    emb_MD, individual_M, side_M, index = large
    flat = Search(list(emb_MD), individual_M, side_M, DIM)
    by_index = Search(list(emb_MD), individual_M, side_M, DIM, index)
    assert (flat.num_one_by_one, by_index.num_one_by_one) == (2000, 100)
    assert (by_index.unit_rows() == flat.unit_rows()).all()
    rng = np.random.default_rng(10)
    crops, sides = unit(rng, 60, DIM), rng.choice(SIDES, 60)
    for number in range(60):
        one = slice(number, number + 1)
        expected = flat.nearest(crops[one], sides[one], WANTED)
        assert as_tables(by_index.nearest(crops[one], sides[one], WANTED)) == as_tables(expected)
    assert as_tables(by_index.nearest(crops, sides, WANTED)) == as_tables(
        flat.nearest(crops, sides, WANTED)
    )


def test_few_cells_lead_to_the_nearest_animal(monkeypatch):
    """Of 20,000 exemplars those in 64 of 283 cells are looked at."""
    monkeypatch.setattr(search_list, "_MIN_PROBED", 64)
    rng = np.random.default_rng(12)
    emb_MD, individual_M, side_M = herd(rng, 1000, 20_000, spread=0.8)
    flat = Search(list(emb_MD), individual_M, side_M, DIM)
    by_index = Search(list(emb_MD), individual_M, side_M, DIM, build(emb_MD).index)
    rows = rng.choice(20_000, 200, replace=False)
    crops = emb_MD[rows].astype(np.float32) + 0.5 * unit(rng, 200, DIM)
    crops /= np.linalg.norm(crops, axis=1, keepdims=True)
    same = 0
    for crop, side in zip(crops, side_M[rows], strict=True):
        best = [
            one.individual_C[np.argmax(one.similarity_NC[0])]
            for one in (s.nearest(crop[None], side[None], WANTED) for s in (flat, by_index))
        ]
        same += best[0] == best[1]
    assert same >= 199


def test_what_left_the_gallery_is_not_found_through_the_index(large):
    emb_MD, individual_M, side_M, index = large
    kept = np.flatnonzero((np.arange(2000) % 7 > 0) | (np.arange(2000) < 200))
    kept = kept[::-1]  # in another order, too
    _, own_K = np.unique(individual_M[kept], return_inverse=True)
    flat = Search(list(emb_MD[kept]), own_K, side_M[kept], DIM)
    by_index = Search(list(emb_MD[kept]), own_K, side_M[kept], DIM, index)
    gone = np.setdiff1d(np.arange(2000), kept)
    for row in gone[::25]:
        crop, side = emb_MD[[row]].astype(np.float32), side_M[[row]]
        assert as_tables(by_index.nearest(crop, side, WANTED)) == as_tables(
            flat.nearest(crop, side, WANTED)
        )


def test_an_index_hides_nobody_behind_thousands_of_exemplars():
    rng = np.random.default_rng(11)
    emb_MD, individual_M, _ = herd(rng, 30, 200)
    crowd = unit(rng, DIM)
    close = (crowd + 0.01 * unit(rng, 3000, DIM)).astype(np.float16)
    emb_MD = np.concatenate([emb_MD, close])
    individual_M = np.concatenate([individual_M, np.full(3000, 30)])
    side_M = np.zeros(len(emb_MD), np.int64)
    by_index = Search(list(emb_MD), individual_M, side_M, DIM, build(emb_MD).index)
    flat = Search(list(emb_MD), individual_M, side_M, DIM)
    asked = (crowd[None], np.zeros(1, np.int64), WANTED)
    assert as_tables(by_index.nearest(*asked)) == as_tables(flat.nearest(*asked))


def test_equal_embeddings_each_take_a_place_in_the_index(large):
    emb_MD = large[0]
    twice = np.concatenate([emb_MD[:50], emb_MD[:50], emb_MD[:20]])
    first = build(twice)
    rows = search_index.rows_of(first.index, list(twice))
    assert sorted(rows) == list(range(120))
    assert (twice[rows] == twice).all()
    again = build(twice, first.index)
    assert (again.num_added, again.num_gone, again.is_new) == (0, 0, False)


def test_an_index_takes_new_exemplars_in_and_is_built_anew_when_many_left(large):
    emb_MD = large[0]
    first = build(emb_MD[:500])
    assert (first.num_added, first.is_new) == (500, True)
    more = build(emb_MD[50:600], first.index)
    assert (more.num_added, more.num_gone, more.is_new) == (100, 50, False)
    fewer = build(emb_MD[300:600], more.index)
    assert (fewer.num_added, fewer.num_gone, fewer.is_new) == (300, 0, True)


def test_an_index_file_that_is_damaged_or_of_another_encoder_is_not_used(large, tmp_path):
    index = large[3]
    file = search_index.save(index, tmp_path, "e" * 64)
    loaded = search_index.load(tmp_path, "e" * 64, DIM)
    assert (search_index.rows_of(loaded, list(large[0][:1900])) == np.arange(1900)).all()
    assert search_index.load(tmp_path, "f" * 64, DIM) is None
    assert search_index.load(tmp_path, "e" * 64, DIM + 1) is None
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert search_index.load(tmp_path, "e" * 64, DIM) is None


@pytest.mark.parametrize("form", ["IVF20,SQfp16", "IVF20,PQ48x4fsr", "PCA24,IVF20,SQfp16"])
def test_an_index_file_of_another_form_is_not_used_and_goes(large, tmp_path, form):
    """What programs before this one made: whole, of this encoder, and built otherwise."""
    former = faiss.index_factory(DIM, f"IDMap,{form}", faiss.METRIC_INNER_PRODUCT)
    former.train(large[0][:1900].astype(np.float32))
    former.add_with_ids(large[0][:1900].astype(np.float32), np.arange(1900))
    search_index.save(former, tmp_path, "e" * 64)
    assert search_index.load(tmp_path, "e" * 64, DIM) is None
    now = search_index.save(large[3], tmp_path, "e" * 64)
    assert search_index.load(tmp_path, "e" * 64, DIM) is not None
    assert list(tmp_path.iterdir()) == [now]


def test_a_loaded_index_lists_only_what_is_held_and_fits(large, tmp_path):
    """Flanks and exemplars that are gone are left out by the index itself, before it counts."""
    emb_MD, _, side_M, index = large
    search_index.save(index, tmp_path, "e" * 64)
    loaded = search_index.load(tmp_path, "e" * 64, DIM)
    kept = np.flatnonzero(np.arange(1900) % 3 > 0)
    row_Q = np.full(1900, -1)
    row_Q[kept] = np.arange(len(kept))
    cells = search_list.Cells(loaded, row_Q)
    for side in SIDES.tolist():
        fits_P = side_M[kept] * side != -1
        cells.fit(side, fits_P)
        for crop in emb_MD[:1900:100].astype(np.float32):
            position_K = cells.near(crop, side, 50)
            assert len(set(position_K.tolist())) == 50
            assert fits_P[position_K].all()
            dots_P = np.where(fits_P, emb_MD[kept].astype(np.float32) @ crop, -np.inf)
            assert dots_P.argmax() in position_K


def test_an_index_that_holds_all_needs_no_other_list(large):
    emb_MD, individual_M, side_M, index = large
    by_index = Search(list(emb_MD[:1900]), individual_M[:1900], side_M[:1900], DIM, index)
    assert by_index.num_one_by_one == 0
    flat = Search(list(emb_MD[:1900]), individual_M[:1900], side_M[:1900], DIM)
    for row in range(0, 1900, 190):
        asked = (emb_MD[[row]].astype(np.float32), np.zeros(1, np.int64), WANTED)
        assert as_tables(by_index.nearest(*asked)) == as_tables(flat.nearest(*asked))


def test_a_number_is_rounded_to_one_of_sixteen_near_it(large):
    """Along each direction, the way from the cell's centre; the mean square is to its variance."""
    emb_MD, index = large[0], large[3]
    turned = faiss.downcast_index(index.index)
    cells = faiss.downcast_index(turned.index)
    seen_PK = faiss.downcast_VectorTransform(turned.chain.at(0)).apply(
        emb_MD[:1900].astype(np.float32)
    )
    _, cell_P1 = cells.quantizer.search(seen_PK, 1)
    centre_PK = faiss.downcast_index(cells.quantizer).reconstruct_n(0, cells.nlist)[cell_P1[:, 0]]
    away_PK = seen_PK - centre_PK
    rounded_PK = cells.pq.decode(cells.pq.compute_codes(away_PK))
    error_K = ((rounded_PK - away_PK) ** 2).mean(axis=0)
    assert (error_K < 0.015 * away_PK.var(axis=0)).all()


def test_a_new_index_file_takes_the_place_of_the_one_before(large, tmp_path):
    search_index.save(build(large[0][:300]).index, tmp_path, "e" * 64)
    second = search_index.save(build(large[0][:400]).index, tmp_path, "e" * 64)
    assert list(tmp_path.iterdir()) == [second]


def test_an_index_that_cannot_be_written_says_so_and_leaves_nothing(large, tmp_path):
    with pytest.raises(StateError, match="cannot be written"):
        search_index.save(large[3], tmp_path / "absent", "e" * 64)
    assert list(tmp_path.iterdir()) == []
