"""Two boxes in one picture are two animals."""

import numpy as np

from trainer.links import cannot_link, separate


def test_units_of_one_picture_are_a_pair() -> None:
    pictures = np.array([7, 7, 3, 5, 5, 5])
    alone = np.arange(6)
    assert cannot_link(alone, pictures).tolist() == [[0, 1], [3, 4], [3, 5], [4, 5]]
    assert cannot_link(alone, np.arange(6)).shape == (0, 2)


def test_bursts_that_meet_in_several_pictures_are_one_pair() -> None:
    bursts = np.array([0, 1, 0, 1, 2])
    pictures = np.array([0, 0, 1, 1, 2])
    assert cannot_link(bursts, pictures).tolist() == [[0, 1]]


def test_of_a_pair_in_one_cluster_the_one_farther_from_it_leaves() -> None:
    emb = np.array([[1, 0], [0.98, 0.2], [0.9, 0.44], [0, 1], [0.1, 1]], np.float32)
    labels = np.array([0, 0, 0, 1, 1])
    found = separate(labels, np.array([[0, 2]]), emb)
    assert found.tolist() == [0, 0, -1, 1, 1]
    assert separate(labels, np.array([[2, 3]]), emb).tolist() == labels.tolist()


def test_clusters_that_vanish_leave_no_gap() -> None:
    emb = np.eye(4, dtype=np.float32)
    labels = np.array([0, 0, 0, 1])
    pairs = np.array([[0, 1], [0, 2], [1, 2]])
    found = separate(labels, pairs, emb)
    assert sorted(found[found >= 0].tolist()) == [0, 1]
